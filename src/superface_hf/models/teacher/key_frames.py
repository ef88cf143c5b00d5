"""Key frames: of consecutive frames the teacher's networks run for some, and their outputs are interpolated for the others.

The layers, the warped pixels, mouth and eyes are computed for every frame. What the networks change of them changes
slowly, and nearly in proportion to the landmarks: where these move evenly from one key frame to the next, frames
between them can hardly be told from rendered ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...face_model import topology

# Key frames are at most so many frames apart.
FARTHEST = 6
# Between key frames no landmark is farther than this from its interpolated place, in widths of the face. Lids may be least:
# half a blink looks unlike the mean of an open eye and a closed one. Lips may be more, as the mouth is painted in every frame.
EVEN, EVEN_LIDS, EVEN_LIPS = 0.02, 0.003, 0.015
# Lips nearer to each other than this are closed, in widths of the face. What a mouth shows begins when they part: nothing is
# interpolated between a closed mouth and an open one.
CLOSED = 0.01
LIDS = torch.from_numpy(np.concatenate([topology.LEFT_EYE, topology.RIGHT_EYE]))
LIPS = torch.from_numpy(topology.LIPS_INNER)
UPPER_LIP, LOWER_LIP = topology.INNER_LIPS[1]  # in the middle


class Changes(NamedTuple):
    """What the teacher's networks change of the layers: ``flow`` (B, 2, S/4, S/4), and ``painted`` (B, 5, S, S), the
    generator's output."""

    flow: Tensor
    painted: Tensor


def between(before: Tensor, after: Tensor, frames: int) -> Tensor:
    """Interpolate the values of two key frames (1, ...) linearly: those of the ``frames`` frames after the first, the last
    of which is the second key frame: (frames, ...)."""
    shares = torch.linspace(0, 1, frames + 1, device=after.device, dtype=after.dtype)[1:]
    return torch.lerp(before, after, shares.view(-1, *[1] * (after.dim() - 1)))


def key_frames(landmarks: Tensor) -> list[int]:
    """Return the indices of the key frames of consecutive frames (B, 478, 3): 0, ..., B - 1."""
    points = landmarks.detach().float().cpu()
    width = points[:, :, 0].amax(1) - points[:, :, 0].amin(1)
    closed = (points[:, UPPER_LIP] - points[:, LOWER_LIP]).norm(dim=-1) < CLOSED * width
    chosen = [0]
    while chosen[-1] < len(points) - 1:
        chosen.append(_next(points, closed, width[chosen[-1]], chosen[-1]))
    return chosen


def _next(points: Tensor, closed: Tensor, width: Tensor, start: int) -> int:
    """Return the key frame after the key frame ``start``, in which the face has this ``width``."""
    for end in range(min(start + FARTHEST, len(points) - 1), start + 1, -1):
        if closed[start : end + 1].any() and not closed[start : end + 1].all():
            continue
        even = between(points[start, None], points[end, None], end - start)[:-1]
        away = ((points[start + 1 : end] - even).norm(dim=-1) / width).amax(0)
        if away.max() <= EVEN and away[LIDS].max() <= EVEN_LIDS and away[LIPS].max() <= EVEN_LIPS:
            return end
    return start + 1
