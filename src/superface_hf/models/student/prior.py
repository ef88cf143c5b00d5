"""What the meshes alone imply, cheaply: the motions that the student's dense motion network starts from.

As ``face_model.mesh_flow``, but with a part of the landmarks and with kernels whose widths are known beforehand: whose face it
is never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...face_model.mesh_flow import (
    FAR_KERNELS,
    NARROWEST,
    WIDEST,
    face_fade,
    face_radius,
    neighbour_distance,
    rigid_flow,
    rigid_motion,
    splat,
)
from ...face_model.topology import LEFT_IRIS, POINTS, RIGHT_IRIS

# The rigid head flow is offered at the depth of hair and ears, in radii of the face.
HAIR_DEPTH = -1.0


@dataclass(frozen=True, eq=False)
class Prior:
    """The landmarks that carry the flow, and the rest of the face.

    Attributes:
        landmarks: (1, 478, 3) of the portrait, in image coordinates.
        chosen: (P,) indices of the landmarks that carry the flow.
        widths: (1, P) of their kernels, in radii of the face.
    """

    landmarks: Tensor
    chosen: Tensor
    widths: Tensor

    @classmethod
    def of(cls, landmarks: Tensor, chosen: Tensor) -> Prior:
        """``landmarks`` (1, 478, 3), and the indices (P,) of some."""
        radius = face_radius(landmarks)[:, None]
        widths = neighbour_distance(landmarks[:, chosen]) / radius
        return cls(landmarks, chosen, widths.clamp(NARROWEST, WIDEST))

    def candidates(self, driving: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Backward flows (B, 3, 2, size, size) of mesh, rigid head, and half of the mesh; and the fade (B, 1, size, size).

        ``driving`` is (B, 478, 3) float32.
        """
        source = self.landmarks.expand(len(driving), -1, -1)
        points = driving[:, self.chosen]
        values = (source[:, self.chosen] - points)[..., :2]
        carried = torch.cat((values, torch.ones_like(values[..., :1])), dim=-1)
        radius = face_radius(driving)[:, None]
        total = splat(points, carried, self.widths * radius, size)
        for width, weight in FAR_KERNELS:
            total = total + weight * splat(points, carried, width * radius, size)
        displacement = total[:, :-1] / total[:, -1:].clamp_min(1e-30)
        fade = face_fade(points, size)
        depth = driving[..., 2].mean(1, keepdim=True) + HAIR_DEPTH * radius
        rigid = rigid_flow(rigid_motion(source, driving)[:, :2], depth, size)[:, 0]
        return torch.stack((displacement * fade, rigid, 0.5 * displacement), dim=1), fade


def spread_out(points: Tensor, count: int) -> Tensor:
    """Indices (count,) of points (478, 2) that lie as far from each other as they can, irises left out."""
    distance = torch.full((POINTS,), torch.inf, device=points.device)
    distance[torch.as_tensor([*LEFT_IRIS, *RIGHT_IRIS], device=points.device)] = -1.0
    chosen = [0]
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=-1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(sorted(chosen), device=points.device)
