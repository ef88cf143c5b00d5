"""Restores a poor source picture once, before it is moved: what noise, blur and compression took is painted where the picture
stands still, which is easier than in every frame anew."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import ResidualBlock, ZeroConv2d, ZeroLinear, conv, upsample
from .configuration_teacher import SuperFaceTeacherConfig

LUMINANCE = (0.299, 0.587, 0.114)
# Works on 4 x 4 pixels at a time.
CELL = 4
# How poor a picture is, is read from its frequencies: those of cells of 4 x 4 pixels, at full and at half resolution.
BANDS = 2 * (CELL**2 - 1)


class Restoration(NamedTuple):
    """The picture (B, 3, S, S) in [0, 1], clean, and in logits (B,) how sure it is that it was a poor one."""

    image: Tensor
    need: Tensor


def frequencies(image: Tensor) -> Tensor:
    """How strong each frequency is in a picture's brightness: noise fills the high ones, blur and compression empty them.

    (B, 3, S, S) -> (B, BANDS), logarithms of the mean sizes of cosine transforms, but for the cells' means.
    """
    with torch.autocast(image.device.type, enabled=False):
        light = (image.float() * image.new_tensor(LUMINANCE, dtype=torch.float32)[:, None, None]).sum(1, keepdim=True)
        steps = torch.arange(CELL, dtype=torch.float32, device=image.device)
        waves = F.normalize(torch.cos(math.pi / CELL * steps[:, None] * (steps + 0.5)), dim=1)
        kernels = torch.einsum("ui,vj->uvij", waves, waves).flatten(0, 1)[1:, None]
        bands = [F.conv2d(picture, kernels).abs().mean((2, 3)) for picture in (light, F.avg_pool2d(light, 2))]
    return (torch.cat(bands, dim=1) + 1e-4).log() + 5  # around zero, for photographs


class Restorer(nn.Module):
    """Source picture (B, 3, S, S) in [0, 1] -> the same, clean. Starts as the identity.

    It learns from sources that SSR has spoilt (SuperFace's simulation for super-resolution), whose originals are known;
    from good pictures, which some are, it learns to change nothing.
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
        # Asked of the picture as a whole: in a good one, what looks like noise is grain, or skin.
        need = self.need(frequencies(image).to(x.dtype))[:, 0]
        change = F.pixel_shuffle(self.head(F.silu(x)), CELL).to(image.dtype)
        # Colours are the picture's own.
        change = torch.sigmoid(need)[:, None, None, None] * (change - change.mean((2, 3), keepdim=True))
        return Restoration((image + change).clamp(0, 1), need.float())
