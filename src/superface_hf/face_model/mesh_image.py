"""Draw the mesh as an image, so that a convolution sees which part of which face is where."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .mesh_flow import face_radius, splat
from .topology import LEFT_EYE, LEFT_IRIS, LIPS_INNER, LIPS_OUTER, RIGHT_EYE, RIGHT_IRIS

_EYES = np.concatenate([LEFT_EYE, RIGHT_EYE])

# Width of the drawn dots in radii of the face: about the spacing of the landmarks, so that the skin has no holes.
DOT_WIDTH = 0.08
FINE_DOT_WIDTH = 0.04
MESH_CHANNELS = 7
OPENING_CHANNELS = 3
# An opening of this height (in radii) counts as half open in the drawing.
HALF_OPEN = 0.03


def mesh_image(landmarks: Tensor, canonical: Tensor, size: int) -> Tensor:
    """Draw the mesh in the picture's plane.

    Args:
        landmarks: (B, 478, 3) in image coordinates.
        canonical: (478, 3) the mean face; a point's place in it is its colour, so colours say "tip of the nose" or
            "left mouth corner" for every face.
        size: side of the image.

    Returns:
        (B, 7, size, size): three colours, coverage, and the density of lips (outer, inner) and eye contours.
    """
    batch = landmarks.shape[0]
    radius = face_radius(landmarks)[:, None]
    colours = torch.cat((canonical, torch.ones_like(canonical[:, :1])), dim=-1).expand(batch, -1, -1)
    drawn = splat(landmarks, colours.to(landmarks), DOT_WIDTH * radius, size)
    coverage = drawn[:, 3:]
    layers = [drawn[:, :3] / (coverage + 0.05), coverage / (coverage + 1.0)]
    for part in (LIPS_OUTER, LIPS_INNER, _EYES):
        points = landmarks[:, part]
        dots = splat(points, torch.ones_like(points[..., :1]), FINE_DOT_WIDTH * radius, size)
        layers.append(dots / (dots + 0.5))
    return torch.cat(layers, dim=1)


def opening_image(landmarks: Tensor, size: int) -> Tensor:
    """Draw mouth opening, eye openings and irises.

    Args:
        landmarks: (B, 478, 3) in image coordinates.
        size: side of the image.

    Returns:
        (B, 3, size, size) in [0, 1): mouth, eyes, irises. A closed mouth or eye leaves its channel empty.
    """
    radius = face_radius(landmarks)[:, None]
    rings = ((LIPS_INNER,), (LEFT_EYE, RIGHT_EYE))
    layers = [_fill([_across(landmarks, ring) for ring in group], radius, size) for group in rings]
    irises = landmarks[:, np.concatenate([LEFT_IRIS, RIGHT_IRIS])]
    dots = splat(irises, torch.ones_like(irises[..., :1]), FINE_DOT_WIDTH * radius, size)
    return torch.cat((*layers, dots / (dots + 0.5)), dim=1)


def _across(landmarks: Tensor, ring: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the facing points of a ring that runs from one corner along the lower edge and back along the upper
    one."""
    half = len(ring) // 2
    lower, upper = landmarks[:, ring[1:half]], landmarks[:, ring[::-1][: half - 1].copy()]
    return _twice_as_dense(lower), _twice_as_dense(upper)


def _twice_as_dense(edge: Tensor) -> Tensor:
    return torch.cat((edge, (edge[:, 1:] + edge[:, :-1]) / 2), dim=1)


def _fill(edges: list[tuple[Tensor, Tensor]], radius: Tensor, size: int) -> Tensor:
    """Draw dots between the lower and the upper edges, stronger where they are farther apart: (B, 1, size, size)."""
    points, strengths = [], []
    for lower, upper in edges:
        gap = (upper - lower)[..., :2].norm(dim=-1) / radius
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            points.append(torch.lerp(lower, upper, share))
            strengths.append(gap / (gap + HALF_OPEN))
    drawn = splat(torch.cat(points, 1), torch.cat(strengths, 1)[..., None], FINE_DOT_WIDTH * radius, size)
    return drawn / (drawn + 1.0)
