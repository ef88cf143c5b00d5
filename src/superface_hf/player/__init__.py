"""Play a student that was exported with ``superface export --runtime onnx``: numpy, OpenCV and onnxruntime, no torch.

``folder`` reads what was exported, ``hearing`` turns sound into mouths, ``picture`` draws what the student's graph gives, and
``player`` joins them.
"""

from .player import StudentPlayer

__all__ = ["StudentPlayer"]
