"""The 3D generator: the moved volume -> what is painted on the person's own warped pixels (SuperFace, figure 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_image import OPENING_CHANNELS
from .blocks import ResidualBlock, VolumeBlock, ZeroConv2d, conv, upsample
from .configuration_teacher import SuperFaceTeacherConfig

# The person may grow by what was hidden up to this far from the warped matte, in cells of 1/4 of the resolution.
GROWTH = 4


class Painting(NamedTuple):
    """``paint`` (B, 3, S, S) is added to the warped person, whose finest detail so remains; ``alpha_change`` (B, 1, S, S) in
    [-1, 1] is added to the warped matte, and is 0 where no person is near."""

    paint: Tensor
    alpha_change: Tensor


class Generator(nn.Module):
    """Paints on top of the warped person, and lets it grow by what was hidden."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        wide, middle, narrow = config.generator_channels
        volume = config.volume_channels * config.volume_depth
        self.volume_blocks = nn.Sequential(*(VolumeBlock(config.volume_channels) for _ in range(config.volume_blocks)))
        self.enter = conv(volume + config.motion_channels, wide)
        self.blocks = nn.Sequential(*(ResidualBlock(wide) for _ in range(config.generator_blocks)))
        self.to_coarse = conv(wide, middle)
        self.coarse = conv(middle + config.detail_channels + 2 * OPENING_CHANNELS, middle)
        self.coarse_blocks = nn.Sequential(*(ResidualBlock(middle) for _ in range(config.generator_blocks - 1)))
        self.to_fine = conv(middle, narrow)
        self.fine = conv(narrow + 16, narrow)
        self.fine_block = ResidualBlock(narrow)
        self.head = ZeroConv2d(narrow, 16, 3, padding=1)

    def forward(self, volume: Tensor, detail: Tensor, warped: Tensor, alpha: Tensor, hidden: Tensor) -> Painting:
        """
        Args:
            volume: (B, D, C, S/8, S/8) after the 3D flow and occlusion.
            detail: (B, C' + 6, S/4, S/4): what the source brings along, and how open eyes and mouth are and shall be.
            warped, alpha: (B, 3, S, S) and (B, 1, S, S): the person's own pixels and matte after the flow.
            hidden: (B, motion_channels, S/8, S/8) of the dense motion network.
        """
        volume = self.volume_blocks(volume).flatten(1, 2)
        x = self.blocks(self.enter(torch.cat((volume, hidden), dim=1)))
        x = upsample(F.silu(self.to_coarse(F.silu(x))))
        x = self.coarse_blocks(self.coarse(torch.cat((x, detail), dim=1)))
        x = upsample(F.silu(self.to_fine(F.silu(x))))
        pixels = torch.cat((warped, alpha), dim=1).to(x.dtype) * 2 - 1
        x = self.fine_block(self.fine(torch.cat((x, F.pixel_unshuffle(pixels, 2)), dim=1)))
        painted = F.pixel_shuffle(self.head(F.silu(x)), 2).float()
        paint = repainted(warped.float(), painted[:, :3]) - warped.float()
        return Painting(paint, near(alpha.float()) * torch.tanh(painted[:, 3:]))


def repainted(colours: Tensor, strokes: Tensor) -> Tensor:
    """Colours (B, 3, h, w) in [0, 1], moved by strokes (B, 3, h, w) in logits. Strokes of zero leave them as they are."""
    inside = colours.clamp(0.004, 0.996)
    return torch.sigmoid(torch.logit(inside) + strokes) + (colours - inside)


def near(alpha: Tensor) -> Tensor:
    """1 where a person is, smoothly to exactly 0 a little away from it: (B, 1, S, S) -> the same."""
    cells = F.avg_pool2d(alpha, 4)
    grown = F.max_pool2d(cells, 2 * GROWTH + 1, stride=1, padding=GROWTH)
    smooth = F.avg_pool2d(grown, GROWTH + 1, stride=1, padding=GROWTH // 2, count_include_pad=False)
    return F.interpolate(smooth, scale_factor=4.0, mode="bilinear", align_corners=False)
