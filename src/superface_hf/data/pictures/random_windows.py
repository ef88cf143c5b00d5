"""Random windows of square pictures, for whole batches on the training device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(like: Tensor, count: int, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return (count,) drawn evenly, on the device of ``like``."""
    return low + (high - low) * torch.rand(count, device=like.device)


def chance(like: Tensor, count: int, share: float) -> Tensor:
    """Return (count, 1, 1, 1) bool, true for a share of them."""
    return (torch.rand(count, device=like.device) < share)[:, None, None, None]


def windows(centre: Tensor, side: Tensor, angle: Tensor, mirrored: Tensor) -> Tensor:
    """Return the affine maps (B, 2, 3) from windows to pictures, as ``affine_grid`` takes them.

    Args:
        centre: (B, 2) in [0, 1]; ``side`` (B,) as a share of the picture's; ``angle`` (B,) radians; ``mirrored`` (B,) bool.
    """
    cos, sin = torch.cos(angle) * side, torch.sin(angle) * side
    flip = torch.where(mirrored.flatten(), -1.0, 1.0)
    middle = centre * 2 - 1
    rows = [torch.stack([cos * flip, -sin, middle[:, 0]], 1), torch.stack([sin * flip, cos, middle[:, 1]], 1)]
    return torch.stack(rows, 1)


def sample(pictures: Tensor, maps: Tensor, size: int, padding: str = "border") -> Tensor:
    """Return (B, C, S, S) uint8 -> the windows (B, C, size, size) in [0, 1]; beyond a picture its edge goes on (or zeros)."""
    return F.grid_sample(pictures.float() / 255, grid(maps, size), padding_mode=padding, align_corners=False)


def grid(maps: Tensor, size: int) -> Tensor:
    """Return (B, size, size, 2) where in the pictures each pixel of the windows lies."""
    return F.affine_grid(maps, [len(maps), 1, size, size], align_corners=False)


def inside(maps: Tensor, size: int) -> Tensor:
    """Return (B, 1, size, size): 1 where a window lies in the picture."""
    return (grid(maps, size).abs().amax(-1) <= 1).float()[:, None]
