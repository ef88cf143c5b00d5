"""The ways to render that are compared: leaving the source as it is, the plain mesh flow, the layers alone, the teacher."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..face_model.linear import FaceModel
from ..geometry import Square
from ..hub import embedded_inpainter, embedded_matte
from ..layers.portrait import PortraitLayers
from ..layers.untrained import UntrainedLayers
from ..models.teacher.modeling_teacher import SuperFaceTeacherModel, plain_mesh_flow
from ..pipelines.layered import LayeredPortrait
from ..pipelines.paste_back import as_pictures, resize
from ..pipelines.portrait import Portrait, snap

METHODS = ("source", "flow", "layers", "teacher")
TITLES = {"source": "source as is", "flow": "plain mesh flow", "layers": "untrained layers", "teacher": "teacher"}


class Methods:
    """Renders with all of them.

    Args:
        dtype: the teacher runs in float32, or under autocast in bfloat16.
        batch: frames at a time.
    """

    def __init__(self, teacher: SuperFaceTeacherModel, dtype: torch.dtype = torch.float32, batch: int = 4) -> None:
        self.teacher, self.dtype, self.batch = teacher, dtype, batch
        self.size = teacher.config.image_size
        self.matte, self.inpainter = embedded_matte(), embedded_inpainter()
        self.untrained = UntrainedLayers(self.size)

    @torch.inference_mode()
    def render(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> dict[str, np.ndarray]:
        """Frames (T, side, side, 3) uint8 by each method.

        Args:
            source: (1, 3, S, S) in [0, 1] of any size; ``landmarks`` (1, 478, 3) and ``driving`` (T, 478, 3) in image
                coordinates.
        """
        as_is = as_pictures(resize(resize(source, self.size), side))
        return {
            "source": np.broadcast_to(as_is, (len(driving), *as_is.shape[1:])),
            "flow": self.flow(source, landmarks, driving, side),
            "layers": self.layers(source, landmarks, driving, side),
            "teacher": self.render_teacher(source, landmarks, driving, side),
        }

    @torch.inference_mode()
    def flow(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> np.ndarray:
        """(T, side, side, 3) uint8 by the plain mesh flow; arguments as in :meth:`render`."""
        source = resize(source, self.size)
        warped = [plain_mesh_flow(source, landmarks, mesh[None]) for mesh in driving]
        return np.concatenate([as_pictures(resize(frame, side)) for frame in warped])

    @torch.inference_mode()
    def layers(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> np.ndarray:
        """(T, side, side, 3) uint8 by the layers without any training; arguments as in :meth:`render`."""
        picture = as_pictures(resize(source, side))[0]
        pixels = Square(0, 0, side).to_pixels(landmarks[0].cpu().numpy())
        crop = snap(Square.around_face(pixels), side, side, self.size)
        own = crop.to_image(pixels)
        shape, motion = FaceModel.default().fit(own[None], fps=1.0)
        layers = PortraitLayers.make(picture, pixels, self.matte, self.inpainter)
        ready = LayeredPortrait.of(Portrait(picture, crop, own, shape, motion), layers, self.untrained)
        moved = torch.from_numpy(crop.to_image(Square(0, 0, side).to_pixels(driving.cpu().numpy())))
        frames: list[np.ndarray] = []
        for meshes in moved.split(self.batch):
            frames += ready.compose(ready.render(self.untrained, meshes))
        return np.stack(frames)

    @torch.inference_mode()
    def render_teacher(self, source: Tensor, landmarks: Tensor, driving: Tensor, side: int) -> np.ndarray:
        """(T, side, side, 3) uint8 by the teacher; arguments as in :meth:`render`."""
        device = self.teacher.device
        frames = []
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            prepared = self.teacher.prepare(resize(source, self.size).to(device), landmarks.to(device))
            for meshes in driving.to(device).split(self.batch):
                output = self.teacher.render(prepared, meshes).frames.float().cpu()
                frames.append(as_pictures(resize(output, side)))
        return np.concatenate(frames)
