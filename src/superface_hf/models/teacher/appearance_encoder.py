"""The appearance encoder: encodes a picture as the feature volume F_3D."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import ResidualBlock, VolumeBlock, conv
from .configuration_teacher import SuperFaceTeacherConfig


class AppearanceEncoder(nn.Module):
    """Encodes source picture and matte (B, 4, S, S) as a volume (B, D, C, S/8, S/8) and detail (B, C', S/4, S/4)."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        wide = config.generator_channels[0]
        self.depth = config.volume_depth
        self.stem = conv(16, 24)
        self.fine = conv(24, config.detail_channels, stride=2)
        self.fine_block = ResidualBlock(config.detail_channels)
        self.coarse = conv(config.detail_channels, wide, stride=2)
        self.coarse_block = ResidualBlock(wide)
        self.to_volume = nn.Conv2d(wide, config.volume_channels * config.volume_depth, 1)
        self.volume_blocks = nn.Sequential(*(VolumeBlock(config.volume_channels) for _ in range(config.volume_blocks)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.silu(self.stem(F.pixel_unshuffle(image * 2 - 1, 2)))
        detail = self.fine_block(self.fine(x))
        x = self.coarse_block(self.coarse(F.silu(detail)))
        volume = self.to_volume(x).unflatten(1, (self.depth, -1))
        return self.volume_blocks(volume), detail
