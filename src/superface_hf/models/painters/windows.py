"""Windows on mouth and eyes that move, turn and grow with the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model import topology
from ...face_model.mesh_flow import face_radius, pixel_centers
from ...utils.easing import smoothstep


@dataclass(frozen=True, eq=False)
class Region:
    """The region that a painter works on.

    Attributes:
        points: indices of the landmarks around whose middle the window is centred.
        size: (height, width) of the window in cells.
        reach: half of the window's width, in radii of the face.
        lower: how far the window's middle lies below that of the points, in radii.
        mirrored: whether the window is mirrored, as the right eye is for the painter of left eyes.
    """

    points: np.ndarray
    size: tuple[int, int]
    reach: float
    lower: float = 0.0
    mirrored: bool = False


MOUTH = Region(topology.LIPS_OUTER, (128, 192), 1.15, 0.08)
EYES = (
    Region(topology.LEFT_EYE, (64, 96), 0.56, -0.03),
    Region(topology.RIGHT_EYE, (64, 96), 0.56, -0.03, mirrored=True),
)


@dataclass(frozen=True, eq=False)
class RegionWindow:
    """Affine windows, one for each face: their positions are ``centre + u * across + v * down``, u and v from -1 to 1.

    Attributes:
        centre, across, down: (B, 2) each.
        size: (height, width) in cells.
    """

    centre: Tensor
    across: Tensor
    down: Tensor
    size: tuple[int, int]

    @classmethod
    def around(cls, points: Tensor, region: Region) -> RegionWindow:
        """Return the windows for landmarks (B, 478, 3) in image coordinates."""
        chosen = torch.as_tensor(region.points, device=points.device)
        middle = points[:, chosen, :2]
        middle = (middle.amin(1) + middle.amax(1)) / 2
        axis = F.normalize(points[:, topology.EYE_CORNERS[3], :2] - points[:, topology.EYE_CORNERS[0], :2], dim=-1)
        below = torch.stack((-axis[:, 1], axis[:, 0]), dim=-1)
        radius = face_radius(points)[:, None]
        centre = middle + region.lower * radius * below
        half = region.reach * radius
        height, width = region.size
        return cls(centre, (-half if region.mirrored else half) * axis, half * (height / width) * below, region.size)

    def grid(self) -> Tensor:
        """Return the windows' positions (B, h, w, 2) in the picture, as ``grid_sample`` takes them."""
        height, width = self.size
        u, v = pixel_centers(width, self.centre), pixel_centers(height, self.centre)
        across, down = self.across[:, None, None], self.down[:, None, None]
        return self.centre[:, None, None] + u[None, None, :, None] * across + v[None, :, None, None] * down

    def cut(self, picture: Tensor) -> Tensor:
        """Sample pictures (B, C, S, S) in the windows: (B, C, h, w)."""
        return F.grid_sample(picture, self.grid().to(picture.dtype), padding_mode="border", align_corners=False)

    def enter(self, points: Tensor) -> Tensor:
        """Convert landmarks (B, 478, 3) to the window: x from -1 to 1 across it, y and z in the same unit."""
        unit = self.across.square().sum(-1, keepdim=True).sqrt()
        axes = torch.stack((self.across / unit, F.normalize(self.down, dim=-1)), dim=-1)
        plane = (points[..., :2] - self.centre[:, None]) @ axes
        return torch.cat((plane, points[..., 2:]), dim=-1) / unit[:, None]

    def add(self, values: Tensor, pictures: Tensor) -> None:
        """Add values (B, C, h, w) to pictures (B, C, S, S) where the windows lie, in place."""
        size = pictures.shape[-1]
        axis = pixel_centers(size, self.centre)
        inverse = torch.linalg.inv(torch.stack((self.across, self.down), dim=-1))
        for index, (centre, turn, box) in enumerate(zip(self.centre, inverse, self._boxes(size), strict=True)):
            top, bottom, left, right = box
            x, y = axis[left:right] - centre[0], axis[top:bottom, None] - centre[1]
            grid = torch.stack((turn[0, 0] * x + turn[0, 1] * y, turn[1, 0] * x + turn[1, 1] * y), dim=-1)[None]
            one = values[index : index + 1]
            laid = F.grid_sample(one, grid.to(one.dtype), padding_mode="zeros", align_corners=False)
            pictures[index, :, top:bottom, left:right] += laid[0]

    def _boxes(self, size: int) -> list[tuple[int, int, int, int]]:
        """Return the cells of a picture that each window covers, with one more on each side: top, bottom, left, right."""
        half = self.across.abs() + self.down.abs()
        low = ((self.centre - half + 1) * (size / 2)).floor().sub(1).clamp(0, size - 1).long().tolist()
        high = ((self.centre + half + 1) * (size / 2)).ceil().add(1).clamp(1, size).long().tolist()
        return [
            (top, max(bottom, top + 1), left, max(right, left + 1))
            for (left, top), (right, bottom) in zip(low, high, strict=True)
        ]


def feather(size: tuple[int, int], like: Tensor, rim: float = 0.2) -> Tensor:
    """Return weights (1, 1, h, w): 1 inside, falling smoothly to 0 over the outer ``rim`` of the window."""
    edges = []
    for cells in size:
        edges.append(smoothstep(1 - pixel_centers(cells, like).abs(), 0.0, rim))
    return (edges[0][:, None] * edges[1])[None, None]
