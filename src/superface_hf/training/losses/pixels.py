"""Losses of the renderers on pixels and flows.

``weights`` (B, 1, S, S) say how much a place counts, and hold 0 where the true picture is unknown.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model.mesh_flow import face_radius, splat, warp
from ...face_model.mesh_image import opening_image
from ...face_model.topology import LEFT_EYE, LIPS, RIGHT_EYE

_REGION_POINTS = torch.cat([torch.as_tensor(part) for part in (LIPS, LEFT_EYE, RIGHT_EYE)])


def region_weights(landmarks: Tensor, size: int, emphasis: float, opening_emphasis: float) -> Tensor:
    """Return weights: 1 in general, up to 1 + ``emphasis`` on lips and eyes, and ``opening_emphasis`` more inside open mouths
    and eyes.

    (B, 478, 3) -> (B, 1, size, size). Teeth and eyeballs are a few hundred pixels that no warp can give and that everybody
    looks at: without their own weight they drown among hair and background.
    """
    points = landmarks[:, _REGION_POINTS]
    density = splat(points, torch.ones_like(points[..., :1]), 0.12 * face_radius(landmarks)[:, None], size)
    openings = opening_image(landmarks, size)[:, :2].sum(1, keepdim=True)
    return 1 + emphasis * density / (density + 1.0) + opening_emphasis * openings


def weighted_mean(errors: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of errors (B, C, S, S) that count by ``weights``; 0 where all weights are."""
    return (errors * weights).mean() / weights.mean().clamp_min(1e-6)


def pyramid_l1(predicted: Tensor, target: Tensor, weights: Tensor, levels: int) -> Tensor:
    """Return the mean absolute error over ``levels`` scales, each half of the one before: (B, 3, S, S) twice, (B, 1, S, S)."""
    total = predicted.new_zeros(())
    for level in range(levels):
        if level:
            predicted, target, weights = (F.avg_pool2d(x, 2) for x in (predicted, target, weights))
        total = total + weighted_mean((predicted - target).abs(), weights)
    return total / levels


def coarse_l2(predicted: Tensor, target: Tensor, weights: Tensor, factor: int) -> Tensor:
    """Return the mean squared error at a resolution ``factor`` times lower, where shapes that are far off weigh most."""
    predicted, target, weights = (F.avg_pool2d(x, factor) for x in (predicted, target, weights))
    return weighted_mean((predicted - target).square(), weights)


def coarse_warp_l1(source: Tensor, flow: Tensor, target: Tensor, weights: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the mean absolute error of small copies of the source (B, 3, S, S) warped by ``flow`` (B, 2, S', S').

    A full-size picture only tells the flow about the next pixel; a small one shows it the way from far off.
    """
    total = source.new_zeros(())
    for size in sizes:
        small, wanted, counted = (resized(x, size) for x in (source, target, weights))
        total = total + weighted_mean((warp(small, resized(flow, size)) - wanted).abs(), counted)
    return total / len(sizes)


def flicker_l1(frames: Tensor, target: Tensor, weights: Tensor, follows: Tensor) -> Tensor:
    """Compare the change from one frame to the next with the targets' change.

    Args:
        frames, target: (B, 3, S, S).
        weights: (B, 1, S, S).
        follows: (B,) bool, whether an item is the same source one frame on from the item before it.
    """
    follows = follows.clone()
    follows[0] = False
    if not follows.any():
        return frames.new_zeros(())
    later = follows.nonzero()[:, 0]
    errors = (frames[later] - frames[later - 1]) - (target[later] - target[later - 1])
    return weighted_mean(errors.abs(), torch.minimum(weights[later], weights[later - 1]))


def bending(flow: Tensor) -> Tensor:
    """Return the mean second derivative of a flow (..., S, S), in image units: 0 where it moves, turns or scales evenly."""
    down = flow[..., 2:, :] - 2 * flow[..., 1:-1, :] + flow[..., :-2, :]
    right = flow[..., 2:] - 2 * flow[..., 1:-1] + flow[..., :-2]
    cells = flow.shape[-1] / 2  # per unit
    return cells**2 * (down.abs().mean() + right.abs().mean())


def resized(maps: Tensor, size: int) -> Tensor:
    """Bring (B, C, S, S) to (B, C, size, size), averaged or interpolated."""
    return F.interpolate(maps, size=(size, size), mode="bilinear" if size > maps.shape[-1] else "area")


def windows(centres: Tensor, pictures: tuple[Tensor, ...], side: int) -> tuple[Tensor, ...]:
    """Cut one square window a sample from several pictures (B, C, S, S), moved inside where it would leave.

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
