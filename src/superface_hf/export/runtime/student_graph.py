"""A student as a graph that gives all that is needed to draw a frame: rows of motion in, small maps out."""

from __future__ import annotations

from torch import Tensor, nn

from ...animation.portrait import Portrait
from ...face_model.linear import FaceModel
from ...models.student.maps import StudentMaps
from ...models.student.modeling_student import SuperFaceStudentModel
from ...models.student.picture import MAPS
from .face_graph import FaceGraph

OUTPUTS = ("landmarks", *MAPS)


class StudentRuntimeGraph(nn.Module):
    """Rows of motion (B, K) -> what ``OUTPUTS`` names, see ``meaning`` in :mod:`.manifest`."""

    def __init__(self, student: SuperFaceStudentModel, portrait: Portrait, face_model: FaceModel) -> None:
        super().__init__()
        self.face, self.maps = FaceGraph(portrait, face_model), StudentMaps(student, student.layers())

    def forward(self, motion: Tensor) -> tuple[Tensor, ...]:
        landmarks = self.face(motion)
        return landmarks, *self.maps(landmarks)
