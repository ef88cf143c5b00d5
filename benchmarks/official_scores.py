"""Run the official landmarker's own blendshape step (``face_blendshapes.tflite`` in ``face_landmarker.task``) on any meshes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

# The points that it takes, as MediaPipe's face_blendshapes_graph.cc lists them.
# fmt: off
POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81, 82,
    84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157,
    158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270,
    276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334,
    336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)
# fmt: on


class OfficialScores:
    """Blendshape scores of meshes, in the landmarker's order (``face_model.arkit.ARKIT_NAMES``).

    Args:
        task: ``face_landmarker.task``; needs ``pip install ai-edge-litert``.
    """

    def __init__(self, task: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with zipfile.ZipFile(task) as file:
            self._step = Interpreter(model_content=file.read("face_blendshapes.tflite"), num_threads=1)
        self._step.allocate_tensors()
        self._input, self._output = (
            details[0]["index"] for details in (self._step.get_input_details(), self._step.get_output_details())
        )

    def __call__(self, meshes: np.ndarray) -> np.ndarray:
        """Return scores (T, 52) of landmarks (T, 478, 3) in pixels."""
        scores = []
        for mesh in meshes:
            self._step.set_tensor(self._input, np.ascontiguousarray(mesh[None, POINTS, :2], np.float32))
            self._step.invoke()
            scores.append(self._step.get_tensor(self._output).ravel().copy())
        return np.stack(scores)
