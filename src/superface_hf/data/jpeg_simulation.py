"""Simulate the loss of a JPEG on any device, without writing a file: colour transform, cosine transform, quantisation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# The quantisation tables that the JPEG standard suggests (annex K) and nearly every encoder scales by its "quality".
_LUMINANCE = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMINANCE = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""


def simulate_jpeg(picture: Tensor, quality: int) -> Tensor:
    """Compress (B, 3, H, W) in [0, 1] as a JPEG of this quality would (1 to 100, colours at half the resolution).

    The lossy steps only: colour transform, cosine transform of 8x8 blocks, quantisation, and back.
    """
    height, width = picture.shape[-2:]
    to_ycc = _colour_matrix(picture.device).to(picture.dtype)
    if width % 16 or height % 16:
        picture = F.pad(picture, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = to_ycc @ (picture * 255).round_().flatten(2)
    ycc = ycc.unflatten(2, picture.shape[-2:])
    light, colour = ycc[:, :1] - 128, F.avg_pool2d(ycc[:, 1:], 2)
    light = _quantised(light, _table(_LUMINANCE, quality, picture.device).to(picture.dtype))
    colour = _quantised(colour, _table(_CHROMINANCE, quality, picture.device).to(picture.dtype))
    colour = F.interpolate(colour, scale_factor=2.0, mode="bilinear", align_corners=False)
    decoded = _colour_matrix(picture.device, back=True).to(picture.dtype) @ torch.cat((light + 128, colour), 1).flatten(
        2
    )
    return decoded.round_().mul_(1 / 255).clamp_(0, 1).unflatten(2, picture.shape[-2:])[..., :height, :width]


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Round the cosine coefficients of (B, C, H, W) to multiples of ``table`` (8, 8)."""
    cosine = _cosines(planes.device).to(planes.dtype)
    height, width = planes.shape[-2:]
    rows = cosine @ planes.reshape(-1, 8, width)
    blocks = rows.reshape(-1, 8, width // 8, 8) @ cosine.T
    steps = table[:, None]
    blocks = (blocks * (1 / steps)).round_().mul_(steps)
    columns = (blocks @ cosine).reshape(-1, 8, width)
    return (cosine.T @ columns).reshape(*planes.shape[:2], height, width)


@lru_cache(maxsize=8)
def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of 8 samples: (8 frequencies, 8 places)."""
    place, frequency = torch.arange(8.0), torch.arange(8.0)[:, None]
    matrix = 0.5 * torch.cos((2 * place + 1) * frequency * math.pi / 16)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)


@lru_cache(maxsize=8)
def _colour_matrix(device: torch.device, back: bool = False) -> Tensor:
    """Red, green, blue to brightness and two colour differences (JFIF) without the offset of 128, or back."""
    red, blue = 0.299, 0.114
    light = torch.tensor([red, 1 - red - blue, blue])
    towards_blue = (torch.tensor([0.0, 0.0, 1.0]) - light) / (2 * (1 - blue))
    towards_red = (torch.tensor([1.0, 0.0, 0.0]) - light) / (2 * (1 - red))
    matrix = torch.stack((light, towards_blue, towards_red))
    return (torch.linalg.inv(matrix) if back else matrix).to(device)


@lru_cache(maxsize=256)
def _table(standard: str, quality: int, device: torch.device) -> Tensor:
    """Return the standard's table (8, 8) scaled to a quality, as libjpeg does it."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor([int(entry) for entry in standard.split()]).reshape(8, 8)
    return ((table * percent + 50) // 100).clamp(1, 255).float().to(device)
