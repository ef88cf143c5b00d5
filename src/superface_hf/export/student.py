"""A student as a graph: meshes in; the person's flow, what is kept of it, and what is painted out.

What draws with that, a browser or a player, samples the picture's layers at the picture's own resolution. They are files in the
student's checkpoint (``colours``, ``alpha``, ``plate``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..animation.portrait import stored_portrait
from ..animation.retargeting import on_portrait
from ..face_model.linear import FaceModel
from ..layers.motion import Window
from ..models.student.modeling_student import SuperFaceStudentModel
from ..models.student.outputs import StudentOutput
from ..motion.bundled import bundled_motion
from .graph import Arrays, Case, Graph, Tolerance

CHECKED = {"speak": 6, "look_around": 3, "blink": 2}  # frames of bundled motions
BATCHES = (1, 3)
OUTPUTS = ("flow", "keep", "paint", "alpha_change")


class StudentGraph(nn.Module):
    """Meshes (B, 478, 3) in the portrait's crop, and windows (B, 3) -> the parts of :class:`StudentOutput`, see
    ``OUTPUTS``."""

    def __init__(self, student: SuperFaceStudentModel) -> None:
        super().__init__()
        self.student = student
        self._prior = student.prepare().prior  # sorts distances and reads floats out of integers: not for a graph

    def forward(self, landmarks: Tensor, window: Tensor) -> tuple[Tensor, ...]:
        prepared = replace(self.student.prepare(), prior=self._prior)
        return _parts(self.student.render(prepared, landmarks, Window(window[:, :2], window[:, 2])))


def _parts(output: StudentOutput) -> tuple[Tensor, ...]:
    return output.motion.flow, output.keep, output.paint, output.alpha_change


def student_graph(student: SuperFaceStudentModel) -> Graph:
    """Return the graph of a student, with its checks and the description that is stored beside it.

    Raises:
        SuperFaceError: the student stores no portrait.
    """
    height, width = student.full_picture().shape[:2]
    crop, size = student.crop, student.config.image_size
    rest = student.landmarks[None]
    return Graph(
        module=StudentGraph(student).eval(),
        example=(torch.cat((rest, rest + 0.01)), torch.tensor([[0.0, 0.0, 1.0], [0.02, 0.01, 1.1]])),
        inputs={"landmarks": {0: "batch"}, "window": {0: "batch"}},
        outputs={name: {0: "batch"} for name in OUTPUTS},
        metadata={
            "image_size": size,
            "person": student.config.person,
            "landmarks": "478 points in image coordinates of the crop: its edges are at -1 and 1, x to the right, y down, z "
            "toward the camera, as long as x and y",
            "window": "where the frame's window lies in the crop: its middle (x, y) and half its side, in these coordinates; "
            "0, 0, 1 is the crop itself",
            "flow": "in coordinates of the window, whose edges are at -1 and 1: from each place to the one that it shows",
            "keep, paint": "the person is keep * warped + paint, of the colours in [0, 1] that the flow brings",
            "alpha_change": "what is added to the matte that the flow brings, in [0, 1]; the frame is alpha * person + (1 - "
            "alpha) * plate",
            "crop": {"left": int(crop.left), "top": int(crop.top), "side": int(crop.side)},
            "picture": {"width": width, "height": height},
            "rest_landmarks": np.round(rest[0].numpy().astype(float), 6).tolist(),
        },
        cases=lambda: _cases(student),
        unit="levels of 255 (of the flow, a quarter of a pixel)",
        peak=255.0,
        # A cell on the very border of an opening may differ.
        tolerances={"fp32": Tolerance(6.0, 0.1), "fp16": Tolerance(255.0, 1.0), "int8": Tolerance(255.0, 4.0)},
    )


def motion_meshes(student: SuperFaceStudentModel, motion: str, frames: int | None = None) -> Tensor:
    """Return the meshes (T, 478, 3) of a bundled motion on the student's portrait, or ``frames`` of them, evenly spaced."""
    portrait = stored_portrait(student, FaceModel.default())
    meshes = on_portrait(bundled_motion(motion), portrait, FaceModel.default())[1]
    if frames is None:
        return meshes
    return meshes[torch.linspace(0, len(meshes) - 1, frames).round().long()]


def compared(outputs: Arrays) -> np.ndarray:
    """Return all outputs of B frames as rows (B, N) in one unit, levels of 255."""
    levels = dict.fromkeys(OUTPUTS, 255.0) | {"flow": 2.0 * outputs["keep"].shape[-1]}
    return np.concatenate([(levels[name] * outputs[name]).reshape(len(outputs[name]), -1) for name in OUTPUTS], axis=1)


@torch.inference_mode()
def _cases(student: SuperFaceStudentModel) -> Iterator[Case]:
    meshes = torch.cat([motion_meshes(student, name, count) for name, count in CHECKED.items()])
    # A mesh may lie outside the window: the windows of eyes and mouth must stop at its border.
    meshes = torch.cat((meshes, student.landmarks[None] + torch.tensor([0.9, 0.0, 0.0])))
    around = Window.following(student.crop, student.landmarks, meshes)
    windows = torch.cat((around.centre, around.scale[:, None]), dim=1)
    windows[::3] = torch.tensor([0.0, 0.0, 1.0])
    prepared, expected = student.prepare(), []
    for part, places in zip(meshes.split(4), windows.split(4), strict=True):
        output = _parts(student.render(prepared, part, Window(places[:, :2], places[:, 2])))
        expected.append(compared({name: value.numpy() for name, value in zip(OUTPUTS, output, strict=True)}))
    for batch in BATCHES:
        yield Case(_in_batches(meshes.numpy(), windows.numpy(), batch), np.concatenate(expected).astype(np.float32))


def _in_batches(
    meshes: np.ndarray, windows: np.ndarray, batch: int
) -> Callable[[Callable[[Arrays], Arrays]], np.ndarray]:
    def run(graph: Callable[[Arrays], Arrays]) -> np.ndarray:
        parts = [slice(start, start + batch) for start in range(0, len(meshes), batch)]
        rows = [compared(graph({"landmarks": meshes[part], "window": windows[part]})) for part in parts]
        return np.concatenate(rows).astype(np.float32)

    return run
