"""Compose the frames of teacher and student in torch, with gradients for losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...face_model.coordinates import Square
from ...face_model.mesh_flow import warp
from ...layers.portrait import PortraitLayers, cut_out
from ...layers.rendered import RenderedWindow
from ...models.student.modeling_student import SuperFaceStudentModel


@dataclass(frozen=True, eq=False)
class Scene:
    """A portrait's layers in its crop, in [0, 1]: the person's colours (1, 3, S, S), the matte (1, 1, S, S), and the plate
    (1, 3, S, S)."""

    texture: Tensor
    matte: Tensor
    plate: Tensor

    @classmethod
    def of(cls, layers: PortraitLayers, crop: Square, size: int) -> Scene:
        """Cut the scene out of a picture's layers."""
        plate = layers.picture.copy()
        plate[layers.box] = layers.plate
        return cls(*layers.source(crop, size), cut_out(plate, crop, size))

    @classmethod
    def stored(cls, student: SuperFaceStudentModel) -> Scene:
        """Make the scene of what a student stores."""
        return cls.of(student.layers(), student.crop, student.config.image_size).to(student.device)

    def to(self, device: torch.device) -> Scene:
        return Scene(self.texture.to(device), self.matte.to(device), self.plate.to(device))

    def compose(self, rendered: RenderedWindow) -> tuple[Tensor, Tensor]:
        """Return the frames (B, 3, S, S) in their windows, and the matte of the person (B, 1, S, S), both in [0, 1]."""
        count = len(rendered.keep)
        texture, matte, plate = (x.expand(count, -1, -1, -1) for x in (self.texture, self.matte, self.plate))
        placed = rendered.window.leave(rendered.flow)
        person = torch.addcmul(rendered.paint, rendered.keep, warp(texture, placed, "bicubic").clamp(0, 1))
        alpha = (warp(matte, placed) + rendered.alpha_change).clamp(0, 1)
        behind = warp(plate, rendered.window.leave(torch.zeros_like(placed[..., ::4, ::4])))
        return torch.lerp(behind, person, alpha).clamp(0, 1), alpha
