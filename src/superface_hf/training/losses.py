"""Losses of the renderers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..face_model.mesh_flow import face_radius, splat, warp
from ..face_model.mesh_image import opening_image
from ..face_model.topology import LEFT_EYE, LIPS, RIGHT_EYE

_REGION_POINTS = torch.cat([torch.as_tensor(part) for part in (LIPS, LEFT_EYE, RIGHT_EYE)])


def region_weights(landmarks: Tensor, size: int, emphasis: float, opening_emphasis: float) -> Tensor:
    """1 in general, up to 1 + ``emphasis`` on lips and eyes, and ``opening_emphasis`` more inside open mouths and eyes.

    (B, 478, 3) -> (B, 1, size, size). Teeth and eyeballs are a few hundred pixels that no warp can give and that everybody
    looks at: without their own weight they drown among hair and background.
    """
    points = landmarks[:, _REGION_POINTS]
    density = splat(points, torch.ones_like(points[..., :1]), 0.12 * face_radius(landmarks)[:, None], size)
    openings = opening_image(landmarks, size)[:, :2].sum(1, keepdim=True)
    return 1 + emphasis * density / (density + 1.0) + opening_emphasis * openings


def pyramid_l1(predicted: Tensor, target: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Mean absolute error over ``levels`` scales, each half of the one before: (B, 3, S, S) twice, (B, 1, S, S)."""
    total = predicted.new_zeros(())
    for level in range(levels):
        if level:
            predicted, target, weights = (F.avg_pool2d(x, 2) for x in (predicted, target, weights))
        total = total + ((predicted - target).abs() * weights).mean() / weights.mean()
    return total / levels


def coarse_l2(predicted: Tensor, target: Tensor, factor: int) -> Tensor:
    """Mean squared error ``factor`` times coarser. Far-off shapes weigh most, and fine detail is left to other losses."""
    return F.mse_loss(F.avg_pool2d(predicted, factor), F.avg_pool2d(target, factor))


def coarse_warp_l1(source: Tensor, flow: Tensor, target: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Mean absolute error of small copies of the source (B, 3, S, S) warped by ``flow`` (B, 2, S', S').

    A full-size picture only tells the flow about the next pixel; a small one shows it the way from far off.
    """
    total = source.new_zeros(())
    for size in sizes:
        small, wanted = (F.interpolate(x, size=(size, size), mode="area") for x in (source, target))
        total = total + (warp(small, _resized(flow, size)) - wanted).abs().mean()
    return total / len(sizes)


def _resized(flow: Tensor, size: int) -> Tensor:
    return F.interpolate(flow, size=(size, size), mode="bilinear" if size > flow.shape[-1] else "area")


def windows(centres: Tensor, pictures: tuple[Tensor, ...], side: int) -> tuple[Tensor, ...]:
    """The same square window of each sample from several pictures (B, C, S, S), moved inside where it would leave.

    Args:
        centres: (B, 2) in image coordinates.
        side: of the windows, in pixels of the pictures.
    """
    size = pictures[0].shape[-1]
    corners = ((centres + 1) * (size / 2) - side / 2).round().clamp(0, size - side).long().tolist()
    return tuple(
        torch.stack([picture[:, y : y + side, x : x + side] for picture, (x, y) in zip(batch, corners, strict=True)])
        for batch in pictures
    )


class PerceptualDistance(nn.Module):
    """Distance of two pictures in the features of a pretrained image network.

    Each position's feature vector is brought to unit length (as LPIPS does, without its learned weights), and the squared
    distances of all stages are added. Zero for equal pictures.

    Args:
        backbone: maps (B, 3, S, S) normalised pictures to a list of feature maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.register_buffer("mean", torch.full((3, 1, 1), 127 / 255))
        self.register_buffer("std", torch.full((3, 1, 1), 128 / 255))

    def forward(self, predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) in [0, 1] twice, (B, 1, S, S) optional weights -> scalar."""
        with torch.no_grad():
            wanted = self.backbone((target - self.mean) / self.std)
        found = self.backbone((predicted - self.mean) / self.std)
        total = predicted.new_zeros(())
        for a, b in zip(found, wanted, strict=True):
            a, b = (F.normalize(x.float(), dim=1, eps=1e-4) for x in (a, b))
            distance = (a - b).square().sum(1, keepdim=True)
            if weights is None:
                total = total + distance.mean()
            else:
                scaled = F.interpolate(weights, size=distance.shape[-2:], mode="area")
                total = total + (distance * scaled).mean() / scaled.mean()
        return total
