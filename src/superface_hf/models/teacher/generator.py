"""The 3D generator: the moved volume -> the frame, painted on top of the source's own warped pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_image import OPENING_CHANNELS
from .blocks import ResidualBlock, VolumeBlock, ZeroConv2d, conv, upsample
from .configuration_teacher import SuperFaceTeacherConfig


class Painting(NamedTuple):
    """Frames and painted pixels (B, 3, S, S) in [0, 1], and the mask (B, 1, S, S) of where the warped pixel is kept."""

    frames: Tensor
    generated: Tensor
    keep: Tensor


class Generator(nn.Module):
    """Paints on top of the warped source and tells where the warped pixel should be kept."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        wide, middle, narrow = config.generator_channels
        self.keep_bias = config.keep_bias
        volume = config.volume_channels * config.volume_depth
        self.volume_blocks = nn.Sequential(*(VolumeBlock(config.volume_channels) for _ in range(config.volume_blocks)))
        self.enter = conv(volume + config.motion_channels, wide)
        self.blocks = nn.Sequential(ResidualBlock(wide), ResidualBlock(wide))
        self.to_coarse = conv(wide, middle)
        self.coarse = conv(middle + config.detail_channels + 2 * OPENING_CHANNELS, middle)
        self.coarse_block = ResidualBlock(middle)
        self.to_fine = conv(middle, narrow)
        self.fine = conv(narrow + 12, narrow)
        self.fine_block = ResidualBlock(narrow)
        self.head = ZeroConv2d(narrow, 16, 3, padding=1)
        self.mouth_interior = nn.Parameter(torch.empty(3))

    def forward(self, volume: Tensor, detail: Tensor, warped: Tensor, hidden: Tensor, opened: Tensor) -> Painting:
        """
        Args:
            volume: (B, D, C, S/8, S/8) after the 3D flow and occlusion.
            detail: (B, C' + 6, S/4, S/4): what the source brings along, and how open eyes and mouth are and shall be.
            warped: (B, 3, S, S) the source's own pixels after the flow.
            hidden: (B, motion_channels, S/8, S/8) of the dense motion network.
            opened: (B, 1, S/2, S/2) in [0, 1]: where the mouth opens and the source has only lips to warp there.
        """
        volume = self.volume_blocks(volume).flatten(1, 2)
        x = self.blocks(self.enter(torch.cat((volume, hidden), dim=1)))
        x = upsample(F.silu(self.to_coarse(F.silu(x))))
        x = self.coarse_block(self.coarse(torch.cat((x, detail), dim=1)))
        x = upsample(F.silu(self.to_fine(F.silu(x))))
        pixels = F.pixel_unshuffle(warped.to(x.dtype) * 2 - 1, 2)
        x = self.fine_block(self.fine(torch.cat((x, pixels), dim=1)))
        painted = F.pixel_shuffle(self.head(F.silu(x)), 2).float()
        opened = F.interpolate(opened, scale_factor=2.0, mode="bilinear", align_corners=False)
        base = torch.logit(warped.float().clamp(0.004, 0.996))
        base = torch.lerp(base, self.mouth_interior.float()[:, None, None], opened)
        generated = torch.sigmoid(base + painted[:, :3])
        keep = torch.sigmoid(painted[:, 3:] + self.keep_bias) * (1 - opened)
        return Painting(keep * warped + (1 - keep) * generated, generated, keep)
