"""Layers that see what comes before and after, for sequences that are known as a whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TimeConvolution(nn.Module):
    """A convolution of three taps over time, centred, with zeros at the ends: (B, T, in) -> (B, T, out)."""

    def __init__(self, in_size: int, out_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(3 * in_size, out_size)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, self.dilation, self.dilation))
        return self.taps(torch.cat([padded[:, i * self.dilation :][:, : x.shape[1]] for i in range(3)], dim=2))


class TimeBlock(nn.Module):
    """A residual block, (B, T, C) -> (B, T, C)."""

    def __init__(self, size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.conv = TimeConvolution(size, size, dilation)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.dropout(F.gelu(self.conv(self.norm(x)))))
