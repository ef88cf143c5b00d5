"""Where the tracker cuts out what it looks at, for batches and gradients."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.tracker import eyes
from ...models.tracker.crops import CHIN, EYE_LEFT, EYE_RIGHT, FOREHEAD
from ...models.tracker.regions import Region


class CropPlace:
    """Upright squares in a batch of pictures, in image coordinates: :class:`FaceCrop` for gradients.

    Attributes:
        centre: (B, 2).
        half: (B,) half of the side.
        axes: (B, 2, 2), the crop's x and y axis in the picture as columns, of unit length.
    """

    def __init__(self, centre: Tensor, half: Tensor, axes: Tensor) -> None:
        self.centre, self.half, self.axes = centre, half, axes

    @classmethod
    def around(cls, landmarks: Tensor, margin: float) -> CropPlace:
        """Return the crops of :meth:`FaceCrop.around` for landmarks (B, 478, 3) in image coordinates."""
        axes = upright_axes(landmarks)
        upright = landmarks[..., :2] @ axes
        low, high = upright.amin(1), upright.amax(1)
        centre = (axes @ ((low + high) / 2)[..., None])[..., 0]
        return cls(centre, (high - low).amax(-1) * margin / 2, axes)

    @classmethod
    def of_region(cls, landmarks: Tensor, region: Region) -> CropPlace:
        """Return the crops of :meth:`Region.crop` for landmarks (B, 478, 3) in image coordinates."""
        distance = (landmarks[:, EYE_LEFT] - landmarks[:, EYE_RIGHT]).norm(dim=-1)
        middle = landmarks[:, list(region.between), :2].mean(1)
        return cls._lifted(middle, upright_axes(landmarks), region.lift * distance, region.side * distance)

    @classmethod
    def of_eyes(cls, landmarks: Tensor) -> tuple[CropPlace, CropPlace]:
        """Return the crops of ``eyes.eye_crops``, of the right and the left eye, for landmarks (B, 478, 3) in image
        coordinates."""
        axes = upright_axes(landmarks)
        corners = landmarks[:, torch.tensor(eyes.CORNERS)]
        width = (corners[:, :, 0] - corners[:, :, 1]).norm(dim=-1).mean(1)
        right, left = (
            cls._lifted(corners[:, eye, :, :2].mean(1), axes, eyes.LIFT * width, eyes.SIDE * width) for eye in (0, 1)
        )
        return right, left

    @classmethod
    def _lifted(cls, middle: Tensor, axes: Tensor, lift: Tensor, side: Tensor) -> CropPlace:
        return cls(middle - lift[:, None] * axes[..., 1], side / 2, axes)

    def to_crop(self, points: Tensor) -> Tensor:
        """Convert points (B, N, 2 or 3) in image coordinates to (B, N, 2) in crop units."""
        return (points[..., :2] - self.centre[:, None]) @ self.axes / self.half[:, None, None]

    def cut(self, pictures: Tensor, size: int) -> Tensor:
        """Cut crops (B, 3, size, size) out of pictures (B, 3, S, S); outside a picture its border is repeated."""
        # Bilinear sampling skips pixels when it shrinks by more than two. Powers of two leave no remainder of the picture.
        factor = 2 ** int(math.log2(max(1.0, float(self.half.min()) * pictures.shape[-1] / size)))
        if factor > 1:
            pictures = F.avg_pool2d(pictures, factor)
        matrix = torch.cat((self.axes * self.half[:, None, None], self.centre[..., None]), dim=-1)
        grid = F.affine_grid(matrix, [len(pictures), 3, size, size], align_corners=False)
        return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def upright_axes(landmarks: Tensor) -> Tensor:
    """Return the x and y axis of faces that stand upright, as columns (B, 2, 2) of unit length; see ``crops.face_roll``.

    Args:
        landmarks: (B, 478, 2 or 3) in image coordinates.
    """
    across = landmarks[:, EYE_LEFT] - landmarks[:, EYE_RIGHT]
    down = landmarks[:, CHIN] - landmarks[:, FOREHEAD]
    right = F.normalize(torch.stack((across[:, 0] + down[:, 1], across[:, 1] - down[:, 0]), dim=-1), dim=-1)
    return torch.stack((right, torch.stack((-right[:, 1], right[:, 0]), dim=-1)), dim=-1)
