"""Augmentation of face crops and pictures, in batches, with operations that are cheap on a CPU."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def random_similarity(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw how far the network's crop is off: turn (B,) radians, scale (B,) and shift (B, 2) crop units.

    Most are as small as the tracker's own errors; some are far larger, for a face that moves fast between frames.
    """
    wide = torch.rand(count, generator=generator) < 0.35
    turn = torch.where(
        wide,
        (torch.rand(count, generator=generator) * 2 - 1) * math.radians(25),
        torch.randn(count, generator=generator) * math.radians(4),
    )
    spread = torch.where(wide, 1.0, 0.4)
    scale = torch.exp(torch.randn(count, generator=generator).clamp(-2, 2) * 0.11 * spread)
    shift = torch.randn(count, 2, generator=generator).clamp(-2, 2) * 0.12 * spread[:, None]
    return turn, scale, shift


def cut_crops(
    pictures: Tensor, points: Tensor, size: int, zoom: float, turn: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut the network's crops out of wider ones.

    Args:
        pictures: (B, 3, S, S) float; points: (B, 478, 3) in their units.
        zoom: side of the network's crop over theirs, before ``scale``.

    Returns:
        (B, 3, size, size) pictures and (B, 478, 3) points in units of the new crops.
    """
    factor = zoom * scale
    cos, sin = torch.cos(turn), torch.sin(turn)
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    centre = shift * zoom
    theta = torch.cat([rotation * factor[:, None, None], centre[:, :, None]], dim=2)
    grid = F.affine_grid(theta, [len(pictures), 3, size, size], align_corners=False)
    crops = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    moved = (points[..., :2] - centre[:, None]) @ rotation / factor[:, None, None]
    return crops, torch.cat([moved, points[..., 2:] / factor[:, None, None]], dim=2)


def mirror(pictures: Tensor, points: Tensor, twins: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Flip the pictures and points chosen by ``which`` (B,) bool; ``twins`` is the index of each point's twin."""
    flipped = points[:, twins] * points.new_tensor([-1, 1, 1])
    return (
        torch.where(which[:, None, None, None], pictures.flip(-1), pictures),
        torch.where(which[:, None, None], flipped, points),
    )


def random_light(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, gamma and colours of (B, 3, H, W) in [0, 1], light it from one side, or make it grey."""
    count, _, height, width = pictures.shape

    def spread(*shape: int, amount: float) -> Tensor:
        return torch.randn(*shape, generator=generator).clamp(-2, 2) * amount

    gamma = torch.exp(spread(count, 1, 1, 1, amount=0.25))
    pictures = pictures.clamp(1e-4, 1) ** gamma
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = (pictures - mean) * torch.exp(spread(count, 1, 1, 1, amount=0.22)) + mean
    pictures = pictures * torch.exp(spread(count, 1, 1, 1, amount=0.15) + spread(count, 3, 1, 1, amount=0.06))
    x = torch.linspace(-1, 1, width)[None, None, None]
    y = torch.linspace(-1, 1, height)[None, None, :, None]
    side = spread(count, 1, 1, 1, amount=0.2) * x + spread(count, 1, 1, 1, amount=0.15) * y
    pictures = pictures * (1 + side)
    grey = torch.rand(count, 1, 1, 1, generator=generator) < 0.15
    return torch.where(grey, pictures.mean(dim=1, keepdim=True), pictures).clamp(0, 1)


def random_degradation(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur as by a small face or lost focus, sensor noise and JPEG, on (B, 3, H, W) in [0, 1]."""
    count, _, height, width = pictures.shape
    order = torch.randperm(count, generator=generator)
    pictures = pictures.clone()
    for group in order[: count // 3].split(4):
        small = int(height / (1.2 + 2.6 * torch.rand((), generator=generator)))
        shrunk = F.interpolate(pictures[group], (small, small * width // height), mode="bilinear", antialias=True)
        pictures[group] = F.interpolate(shrunk, (height, width), mode="bilinear")
    noisy = order[count // 4 : count * 3 // 4]
    level = torch.rand(len(noisy), 1, 1, 1, generator=generator) ** 2 * 0.06
    pictures[noisy] += torch.randn(len(noisy), 3, height, width, generator=generator) * level
    pictures = pictures.clamp(0, 1)
    for index in order[-(count // 4) :].tolist():
        quality = int(torch.randint(15, 85, (), generator=generator))
        pictures[index] = jpeg_again(pictures[index], quality)
    return pictures


def jpeg_again(picture: Tensor, quality: int) -> Tensor:
    """Encode (3, H, W) in [0, 1] as a JPEG, and decode it."""
    buffer = io.BytesIO()
    array = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(buffer, formats=("JPEG",))).copy()).permute(2, 0, 1).float() / 255


def random_occlusion(pictures: Tensor, generator: torch.Generator, share: float = 0.3) -> Tensor:
    """Cover part of some pictures by an ellipse or a box of plain colour or of another picture's pixels."""
    count, _, height, width = pictures.shape
    pictures = pictures.clone()
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    for index in torch.nonzero(torch.rand(count, generator=generator) < share)[:, 0].tolist():
        draw = torch.rand(9, generator=generator)
        u, v = x - (draw[0] * 2 - 1) * 0.9, y - (draw[1] * 2 - 1) * 0.9
        turn = draw[2] * math.pi
        u, v = u * torch.cos(turn) + v * torch.sin(turn), v * torch.cos(turn) - u * torch.sin(turn)
        a, b = 0.08 + 0.35 * draw[3], 0.08 + 0.35 * draw[4]
        covered = (u / a) ** 2 + (v / b) ** 2 < 1 if draw[5] < 0.6 else (u.abs() < a) & (v.abs() < b)
        other = pictures[(index + 1) % count] if draw[5] > 0.3 else draw[6:9, None, None].expand(3, height, width)
        pictures[index] = torch.where(covered, other, pictures[index])
    return pictures
