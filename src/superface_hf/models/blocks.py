"""The layers that all parts of the teacher are made of."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


class ZeroConv2d(nn.Conv2d):
    """A convolution that the model initialises to zero, so that its output changes nothing at first."""


class ZeroLinear(nn.Linear):
    """A linear layer that the model initialises to zero."""


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))). Starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.last = ZeroConv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(F.silu(self.first(F.silu(x))))


class VolumeBlock(nn.Module):
    """A residual block of a volume (B, D, C, H, W): a convolution across the plane, then one along the depth.

    A full 3 x 3 x 3 kernel costs three times as much, and CPUs have no fast one (Tran et al. 2018 split it the same way).
    Starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.plane = conv(channels, channels)
        self.depth = ZeroConv2d(channels, channels, (3, 1), padding=(1, 0))

    def forward(self, volume: Tensor) -> Tensor:
        batch, depth, channels, height, width = volume.shape
        x = F.silu(self.plane(F.silu(volume.flatten(0, 1))))
        # Depth becomes the height of a picture whose width is the flattened plane.
        x = self.depth(x.reshape(batch, depth, channels, height * width).transpose(1, 2))
        return volume + x.transpose(1, 2).reshape(volume.shape)


def joined(x: Tensor, other: Tensor) -> Tensor:
    """Concatenate the channels of two maps (B, C, S, S), in the memory format of the first.

    Of mixed formats torch makes the contiguous one, and the next convolution then converts all of it.
    """
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    other = other.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return torch.cat((x, other), dim=1)


def upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class MotionUNet(nn.Module):
    """A U-Net of four levels; the motion code is added at its coarsest level.

    (B, inputs, S, S), (B, code) -> (B, widths[0], S, S)
    """

    def __init__(self, inputs: int, widths: list[int], code: int) -> None:
        super().__init__()
        self.stem = conv(inputs, widths[0])
        self.enter = ResidualBlock(widths[0])
        self.down = nn.ModuleList(conv(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.down_blocks = nn.ModuleList(ResidualBlock(width) for width in widths[1:])
        self.code = nn.Linear(code, widths[-1])
        self.middle = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(conv(a + b, a) for a, b in itertools.pairwise(widths))
        self.up_blocks = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.enter(self.stem(x))
        skips = []
        for down, block in zip(self.down, self.down_blocks, strict=True):
            skips.append(x)
            x = block(down(F.silu(x)))
        x = self.middle(x + self.code(code)[:, :, None, None])
        for up, block, skip in reversed(list(zip(self.up, self.up_blocks, skips, strict=True))):
            x = block(up(F.silu(torch.cat((upsample(x), skip), dim=1))))
        return F.silu(x)
