"""ONNX files of students and audio-to-lip, for runtimes without Python or torch.

``student`` and ``audio_to_lip`` say what each file takes, gives and tells about itself; ``tracing`` lets torch's exporter see
through the models' code, ``precision`` stores weights in fewer bits, and ``onnx_file`` joins these, checks the result against
torch, and writes it.
"""

from .onnx_file import ExportReport, export_onnx
from .precision import PRECISIONS, Precision

__all__ = ["PRECISIONS", "ExportReport", "Precision", "export_onnx"]
