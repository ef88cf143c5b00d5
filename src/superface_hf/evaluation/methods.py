"""The compared ways to render: the unchanged source, the plain mesh flow, the untrained layers, and the teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait, snap
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..layers.portrait import PortraitLayers, resize, to_uint8
from ..layers.untrained import UntrainedLayers
from ..models.embedded import embedded_inpainter, embedded_matte
from ..models.teacher.modeling_teacher import SuperFaceTeacherModel, plain_mesh_flow
from ..renderers.teacher import TeacherRenderer

METHODS = ("source", "flow", "layers", "teacher")
MOVING = METHODS[1:]  # those that move the picture
TITLES = {"source": "source as is", "flow": "plain mesh flow", "layers": "untrained layers", "teacher": "teacher"}


class Methods:
    """Renders with all methods.

    Args:
        dtype: the teacher runs in float32, or under autocast in bfloat16.
        batch: frames at a time.
    """

    def __init__(self, teacher: SuperFaceTeacherModel, dtype: torch.dtype = torch.float32, batch: int = 4) -> None:
        self.teacher, self.dtype, self.batch = teacher, dtype, batch
        self.size = teacher.config.image_size
        self.matte, self.inpainter = embedded_matte(teacher.device), embedded_inpainter(teacher.device)
        self.untrained = UntrainedLayers(self.size, teacher.device)

    @torch.inference_mode()
    def render(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> dict[str, np.ndarray]:
        """Return frames (T, side, side, 3) uint8 by each method.

        Args:
            source: (1, 3, S, S) in [0, 1] of any size; ``landmarks`` (1, 478, 3) and ``driving`` (T, 478, 3) in image
                coordinates.
        """
        as_is = to_uint8(resize(resize(source, self.size), side))
        portrait, layers = self._taken_apart(source, landmarks, side)
        return {
            "source": np.broadcast_to(as_is, (len(driving), *as_is.shape[1:])),
            "flow": self.flow(source, landmarks, driving, side),
            "layers": self._layered(self.untrained, portrait, layers, driving),
            "teacher": self._layered(self.teacher, portrait, layers, driving),
        }

    @torch.inference_mode()
    def flow(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> np.ndarray:
        """Return frames (T, side, side, 3) uint8 by the plain mesh flow; for arguments see :meth:`render`."""
        source = resize(source, self.size)
        warped = [plain_mesh_flow(source, landmarks, mesh[None]) for mesh in driving]
        return np.concatenate([to_uint8(resize(frame, side)) for frame in warped])

    @torch.inference_mode()
    def render_teacher(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> np.ndarray:
        """Return frames (T, side, side, 3) uint8 by the teacher; for arguments see :meth:`render`."""
        return self._layered(self.teacher, *self._taken_apart(source, landmarks, side), driving)

    def _taken_apart(self, source: Tensor, landmarks: Tensor, side: int) -> tuple[Portrait, PortraitLayers]:
        """Return the layers of the source, as the pipeline makes them for a picture of ``side`` pixels."""
        picture = to_uint8(resize(source, side))[0]
        pixels = Square(0, 0, side).to_pixels(landmarks[0].cpu().numpy())
        crop = snap(Square.around_face(pixels), side, side, self.size)
        own = crop.to_image(pixels)
        shape, motion = FaceModel.default().fit(own[None], fps=1.0)
        layers = PortraitLayers.make(picture, pixels, self.matte, self.inpainter)
        return Portrait(picture, crop, own, shape, motion), layers

    def _layered(
        self,
        model: Any,
        portrait: Portrait,
        layers: PortraitLayers,
        driving: Tensor,
    ) -> np.ndarray:
        side = len(portrait.picture)
        pixels = Square(0, 0, side).to_pixels(driving.cpu().numpy())
        moved = torch.from_numpy(portrait.crop.to_image(pixels)).to(self.teacher.device)
        ready = TeacherRenderer(model, self.dtype).prepare(portrait, lambda: layers)
        return np.stack([frame for meshes in moved.split(self.batch) for frame in ready.frames(meshes)])
