"""The student's networks: motion representation, 2D dense motion network, 2D generator, and the painters of mouth and eyes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import face_radius
from ...face_model.topology import POINTS
from ..blocks import ResidualBlock, ZeroConv2d, conv, upsample
from .configuration_student import SuperFaceStudentConfig
from .seam_windows import DRAWN_CHANNELS

# Outputs: mix toward the rigid head and toward rest, residual flow (2), occlusion.
MOTION_OUTPUTS = 5
KEEP_AND_PAINT = 4
# Dilations of the window painters' layers.
DILATIONS = (1, 2, 1)


class MotionEncoder(nn.Module):
    """Encodes landmarks (B, 478, 3) as the motion representation p (B, code)."""

    def __init__(self, config: SuperFaceStudentConfig) -> None:
        super().__init__()
        self.points = nn.Linear(POINTS * 3, config.code_channels)
        self.mix = nn.Linear(config.code_channels, config.code_channels)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        points = (driving - driving.mean(1, keepdim=True)) / face_radius(driving)[:, None, None]
        rest = (source - source.mean(1, keepdim=True)) / face_radius(source)[:, None, None]
        change = (points - rest).flatten(1).to(self.points.weight.dtype)
        return self.mix(F.silu(self.points(change)))


class DenseMotionNetwork(nn.Module):
    """The 2D DMN, a U-Net of three levels. From its input (B, inputs, s, s) and p (B, code) it predicts features (B,
    width, s, s) and (B, 5, 2 s, 2 s): the mix of the candidate flows, a residual flow, and the occlusion."""

    def __init__(self, inputs: int, config: SuperFaceStudentConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.motion_channels
        self.stem = nn.Conv2d(inputs, fine, 1)
        self.enter = ResidualBlock(fine)
        self.to_middle, self.to_coarse = conv(fine, middle, stride=2), conv(middle, coarse, stride=2)
        self.middle_block, self.coarse_block = ResidualBlock(middle), ResidualBlock(coarse)
        self.code = nn.Linear(config.code_channels, coarse)
        self.from_coarse, self.from_middle = nn.Conv2d(coarse, middle, 1), nn.Conv2d(middle, fine, 1)
        self.leave = ResidualBlock(fine)
        self.head = ZeroConv2d(fine, 4 * MOTION_OUTPUTS, 1)

    def forward(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.enter(self.stem(x))
        middle = self.middle_block(self.to_middle(F.silu(fine)))
        coarse = self.to_coarse(F.silu(middle)) + self.code(code)[:, :, None, None]
        middle = middle + upsample(self.from_coarse(F.silu(self.coarse_block(coarse))))
        hidden = F.silu(self.leave(fine + upsample(self.from_middle(F.silu(middle)))))
        return hidden, F.pixel_shuffle(self.head(hidden), 2)


class Generator(nn.Module):
    """The 2D generator. From the warped appearance and matte (B, C + 1, s, s) and the motion network's features (B, C',
    s/2, s/2) it predicts (B, 5, 2 s, 2 s): logits of what to keep of the warped pixels, the paint on them, and the
    change of the matte."""

    def __init__(self, config: SuperFaceStudentConfig) -> None:
        super().__init__()
        width = config.generator_channels
        self.enter = nn.Conv2d(config.appearance_channels + 1 + config.motion_channels[0], width, 1)
        self.block = conv(width, width)
        self.head = ZeroConv2d(width, 4 * (KEEP_AND_PAINT + 1), 1)

    def forward(self, appearance: Tensor, hidden: Tensor) -> Tensor:
        x = self.enter(torch.cat((appearance, upsample(hidden)), dim=1))
        return F.pixel_shuffle(self.head(F.silu(x + self.block(F.silu(x)))), 2)


class WindowPainter(nn.Module):
    """Refines and paints a window of mouth or eyes. From the window's drawing (B, 8, h, w), its warped pixels (B, 3, h,
    w) and p it predicts a residual flow and a gate on the seam's flow (B, 3, h, w), and what to keep and paint at twice
    the resolution (B, 4, 2 h, 2 w)."""

    def __init__(self, config: SuperFaceStudentConfig) -> None:
        super().__init__()
        width = config.window_channels
        self.enter = nn.Conv2d(4 * (DRAWN_CHANNELS + 3), width, 1)
        self.code = nn.Linear(config.code_channels, width)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=step, dilation=step) for step in DILATIONS)
        self.flow_head = ZeroConv2d(width, 4 * 3, 1)
        self.paint_head = ZeroConv2d(width, 16 * KEEP_AND_PAINT, 1)

    def forward(self, drawn: Tensor, pixels: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_unshuffle(torch.cat((drawn, pixels), dim=1), 2).to(self.enter.weight.dtype)
        x = self.enter(x) + self.code(code)[:, :, None, None]
        for layer in self.layers:
            x = x + layer(F.silu(x))
        x = F.silu(x)
        return F.pixel_shuffle(self.flow_head(x), 2), F.pixel_shuffle(self.paint_head(x), 4)
