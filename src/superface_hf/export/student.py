"""A student as a graph: meshes in, pictures out; whom it shows is stored in the file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..drivers.bundled import bundled_motion
from ..errors import SuperFaceError
from ..face_model.linear import FaceModel
from ..face_model.mesh_flow import identity_grid
from ..models.student.modeling_student import SuperFaceStudentModel
from ..pipelines.paste_back import FEATHER, as_pictures
from ..pipelines.portrait import stored_portrait
from ..pipelines.retarget import on_portrait
from .graph import Arrays, Case, Graph, Tolerance

CHECKED = {"speak": 6, "look_around": 3, "blink": 2}  # frames of bundled motions
BATCHES = (1, 3)


class StudentGraph(nn.Module):
    """Meshes (B, 478, 3) -> pictures (B, S, S, 3) uint8, as ``clip.frames`` are.

    Bytes are what screens and encoders take. Making them costs the graph nothing, as it has less to hand over; a caller would
    spend a millisecond a frame.
    """

    def __init__(self, student: SuperFaceStudentModel) -> None:
        super().__init__()
        self.student = student
        self._prior = student.prepare().prior  # sorts distances and reads floats out of integers: not for a graph

    def forward(self, landmarks: Tensor) -> Tensor:
        prepared = self.student.prepare()
        # A grid whose size the tracer knew would be stored: megabytes that take no time to compute.
        grid = identity_grid(prepared.texture.shape[-1], prepared.texture).permute(0, 3, 1, 2)
        prepared = replace(prepared, grid=grid, prior=self._prior)
        frames = self.student.render(prepared, landmarks).frames
        return frames.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)


def student_graph(student: SuperFaceStudentModel) -> Graph:
    """
    Raises:
        SuperFaceError: the student stores no portrait.
    """
    height, width = student.full_picture().shape[:2]
    crop, size = student.crop, student.config.image_size
    rest = student.landmarks[None]
    return Graph(
        module=StudentGraph(student).eval(),
        example=(torch.cat((rest, rest + 0.01)),),
        inputs={"landmarks": {0: "batch"}},
        outputs={"frames": {0: "batch"}},
        metadata={
            "image_size": size,
            "person": student.config.person,
            "landmarks": "478 points in image coordinates of the crop: its edges are at -1 and 1, x to the right, y down, z "
            "toward the camera, as long as x and y",
            "frames": "RGB bytes of the crop",
            "crop": {"left": int(crop.left), "top": int(crop.top), "side": int(crop.side)},
            "picture": {"width": width, "height": height},
            "crop_fade": FEATHER,
            "rest_landmarks": np.round(rest[0].numpy().astype(float), 6).tolist(),
        },
        cases=lambda: _cases(student),
        unit="levels of 255",
        peak=255.0,
        # Rounding may differ by a level; a cell on the very border of an opening, by a little more.
        tolerances={"fp32": Tolerance(3.0, 0.1), "fp16": Tolerance(255.0, 1.0), "int8": Tolerance(255.0, 4.0)},
    )


def motion_meshes(student: SuperFaceStudentModel, motion: str, frames: int | None = None) -> Tensor:
    """A bundled motion on the student's portrait (T, 478, 3), or only ``frames`` of it, evenly chosen."""
    portrait = stored_portrait(student, FaceModel.default())
    meshes = on_portrait(bundled_motion(motion), portrait, FaceModel.default())[1]
    if frames is None:
        return meshes
    return meshes[torch.linspace(0, len(meshes) - 1, frames).round().long()]


@torch.inference_mode()
def _cases(student: SuperFaceStudentModel) -> Iterator[Case]:
    meshes = torch.cat([motion_meshes(student, name, count) for name, count in CHECKED.items()])
    # Whoever drives it from outside may leave the picture: the windows of eyes and mouth stop at its border.
    meshes = torch.cat((meshes, student.landmarks[None] + torch.tensor([0.9, 0.0, 0.0])))
    prepared = student.prepare()
    expected = np.concatenate([as_pictures(student.render(prepared, part).frames) for part in meshes.split(4)])
    for batch in BATCHES:
        yield Case(_in_batches(meshes.numpy(), batch), expected.astype(np.float32))


def _in_batches(meshes: np.ndarray, batch: int) -> Callable[[Callable[[Arrays], Arrays]], np.ndarray]:
    def run(graph: Callable[[Arrays], Arrays]) -> np.ndarray:
        parts = [meshes[start : start + batch] for start in range(0, len(meshes), batch)]
        return np.concatenate([graph({"landmarks": part})["frames"] for part in parts]).astype(np.float32)

    return run


def with_sampling(student: SuperFaceStudentModel, sampling: str | None) -> SuperFaceStudentModel:
    """The same student, sampling its portrait as told; None leaves it.

    Raises:
        SuperFaceError: there is no such way of sampling.
    """
    if sampling is None:
        return student
    if sampling not in ("bicubic", "bilinear"):
        raise SuperFaceError(f'sampling must be "bicubic" or "bilinear", not {sampling!r}.')
    other = copy.copy(student)  # with the same weights
    other.config = copy.deepcopy(student.config)
    other.config.sampling = sampling
    return other
