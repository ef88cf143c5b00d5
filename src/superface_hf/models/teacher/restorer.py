"""The restorer: cleans a degraded source picture once, before it is animated.

Restoring detail lost to noise, blur and compression is easier in one still picture than in every frame.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import ResidualBlock, ZeroConv2d, ZeroLinear, conv, upsample
from .configuration_teacher import SuperFaceTeacherConfig

LUMINANCE = (0.299, 0.587, 0.114)
# Side of the cells that the restorer works on, in pixels.
CELL = 4
# The degradation is predicted from the picture's frequencies: those of cells of 4 x 4 pixels, at full and at half resolution.
BANDS = 2 * (CELL**2 - 1)


class Restoration(NamedTuple):
    """The restored picture (B, 3, S, S) in [0, 1], and logits (B,) of whether the source was degraded."""

    image: Tensor
    need: Tensor


def frequencies(image: Tensor) -> Tensor:
    """Return the strength of frequencies in a picture's luminance: noise fills the high ones, blur and compression
    empty them.

    Args:
        image: (B, 3, S, S) in [0, 1].

    Returns:
        (B, BANDS): logarithms of the mean magnitudes of the cells' cosine transforms, without their averages.
    """
    with torch.autocast(image.device.type, enabled=False):
        light = (image.float() * image.new_tensor(LUMINANCE, dtype=torch.float32)[:, None, None]).sum(1, keepdim=True)
        steps = torch.arange(CELL, dtype=torch.float32, device=image.device)
        waves = F.normalize(torch.cos(math.pi / CELL * steps[:, None] * (steps + 0.5)), dim=1)
        kernels = torch.einsum("ui,vj->uvij", waves, waves).flatten(0, 1)[1:, None]
        bands = [F.conv2d(picture, kernels).abs().mean((2, 3)) for picture in (light, F.avg_pool2d(light, 2))]
    return (torch.cat(bands, dim=1) + 1e-4).log() + 5  # around zero, for photographs


class Restorer(nn.Module):
    """Restores a source picture (B, 3, S, S) in [0, 1]. Starts as the identity.

    It learns from sources that SSR (SuperFace's simulation for super-resolution) has degraded, with their originals; from
    undegraded sources it learns to change nothing.
    """

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        fine, coarse = config.restorer_channels
        self.enter = conv(3 * CELL**2, fine)
        self.before = ResidualBlock(fine)
        self.down = conv(fine, coarse, stride=2)
        self.middle = nn.Sequential(*(ResidualBlock(coarse) for _ in range(3)))
        self.up = conv(coarse + fine, fine)
        self.after = nn.Sequential(ResidualBlock(fine), ResidualBlock(fine))
        self.head = ZeroConv2d(fine, 3 * CELL**2, 3, padding=1)
        self.need = nn.Sequential(nn.Linear(BANDS, 32), nn.SiLU(), ZeroLinear(32, 1))

    def forward(self, image: Tensor) -> Restoration:
        x = self.before(self.enter(F.pixel_unshuffle(image.to(self.enter.weight.dtype) * 2 - 1, CELL)))
        middle = self.middle(self.down(F.silu(x)))
        x = self.after(self.up(F.silu(torch.cat((upsample(middle), x), dim=1))))
        # Predicted for the whole picture: in a good one, apparent noise is grain, or skin.
        need = self.need(frequencies(image).to(x.dtype))[:, 0]
        change = F.pixel_shuffle(self.head(F.silu(x)), CELL).to(image.dtype)
        # The average colour of the picture stays.
        change = torch.sigmoid(need)[:, None, None, None] * (change - change.mean((2, 3), keepdim=True))
        return Restoration((image + change).clamp(0, 1), need.float())
