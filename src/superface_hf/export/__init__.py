"""ONNX files of students and audio-to-lip, and folders that let a student speak, for runtimes without Python or torch.

``student`` and ``audio_to_lip`` say what each file takes, gives and tells about itself; ``tracing`` lets torch's exporter see
through the models' code, ``precision`` stores weights in fewer bits, and ``onnx_file`` joins these, checks the result against
torch, and writes it. ``runtime`` writes a student as a folder for the player and for browsers, with the JavaScript of ``web``.
"""

from .onnx_file import ExportReport, export_onnx
from .precision import PRECISIONS, Precision
from .runtime import RUNTIMES, FolderReport, export_folder

__all__ = ["PRECISIONS", "RUNTIMES", "ExportReport", "FolderReport", "Precision", "export_folder", "export_onnx"]
