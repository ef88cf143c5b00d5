"""The 3D generator: paints on the person's warped pixels, from the warped volume (SuperFace, figure 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_image import OPENING_CHANNELS
from ..blocks import ResidualBlock, VolumeBlock, ZeroConv2d, conv, joined, upsample
from .configuration_teacher import SuperFaceTeacherConfig

# How far the person may extend beyond the warped matte, in cells of 4 pixels.
GROWTH = 4


class Painting(NamedTuple):
    """The generator's output: ``keep`` (B, 1, S, S) of the warped person, and ``paint`` (B, 3, S, S) instead of the
    rest. ``alpha_change`` (B, 1, S, S) in [-1, 1] is added to the warped matte, and is 0 away from the person."""

    keep: Tensor
    paint: Tensor
    alpha_change: Tensor


class Generator(nn.Module):
    """Paints on the warped person, predicts which warped pixels are kept, and extends the person by what was hidden."""

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
        self.fine = conv(narrow + 16, narrow)
        self.fine_block = ResidualBlock(narrow)
        self.head = ZeroConv2d(narrow, 20, 3, padding=1)
        self.mouth_interior = nn.Parameter(torch.empty(3))

    def forward(self, volume: Tensor, detail: Tensor, warped: Tensor, alpha: Tensor, hidden: Tensor) -> Tensor:
        """Predict how the person is painted: (B, 5, S, S) for :meth:`paint`.

        Args:
            volume: (B, D, C, S/8, S/8) after the 3D flow and occlusion.
            detail: (B, C' + 6, S/4, S/4) the source's warped detail, and the openings of eyes and mouth in source and driver.
            warped, alpha: (B, 3, S, S) and (B, 1, S, S) the person's own pixels and matte after the flow.
            hidden: (B, motion_channels, S/8, S/8) features of the dense motion network.
        """
        volume = self.volume_blocks(volume).flatten(1, 2)
        x = self.blocks(self.enter(torch.cat((volume, hidden), dim=1)))
        x = upsample(F.silu(self.to_coarse(F.silu(x))))
        x = self.coarse_block(self.coarse(joined(x, detail)))
        x = upsample(F.silu(self.to_fine(F.silu(x))))
        pixels = torch.cat((warped, alpha), dim=1).to(x.dtype) * 2 - 1
        x = self.fine_block(self.fine(joined(x, F.pixel_unshuffle(pixels, 2))))
        return F.pixel_shuffle(self.head(F.silu(x)), 2).float()

    def paint(self, painted: Tensor, warped: Tensor, alpha: Tensor, opened: Tensor) -> Painting:
        """Paint the person.

        Args:
            painted: (B, 5, S, S) the result of :meth:`forward`: changes of the colours' logits, the logit of what is kept, and
                the change of the matte.
            warped, alpha: as of :meth:`forward`.
            opened: (B, 1, S/2, S/2) in [0, 1], 1 where the mouth opens and the source shows only lips.
        """
        opened = F.interpolate(opened, scale_factor=2.0, mode="bilinear", align_corners=False)
        base = torch.logit(warped.float().clamp(0.004, 0.996))
        base = torch.lerp(base, self.mouth_interior.float()[:, None, None], opened)
        keep = torch.sigmoid(painted[:, 3:4] + self.keep_bias) * (1 - opened)
        paint = (1 - keep) * torch.sigmoid(base + painted[:, :3])
        return Painting(keep, paint, near(alpha.float()) * torch.tanh(painted[:, 4:]))


def near(alpha: Tensor) -> Tensor:
    """Return weights of the same shape as ``alpha`` (B, 1, S, S), 1 on the person and falling smoothly to exactly 0 a
    little away."""
    cells = F.avg_pool2d(alpha, 4)
    grown = F.max_pool2d(cells, 2 * GROWTH + 1, stride=1, padding=GROWTH)
    smooth = F.avg_pool2d(grown, GROWTH + 1, stride=1, padding=GROWTH // 2, count_include_pad=False)
    return F.interpolate(smooth, scale_factor=4.0, mode="bilinear", align_corners=False)
