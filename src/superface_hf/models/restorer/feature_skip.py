"""A skip of features from the degraded picture into the decoder, by as much as the user wants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureSkip(nn.Module):
    """Scales and shifts features of the decoder after features of the degraded picture (CodeFormer, section 3.3).

    Freshly initialised it changes nothing.

    Args:
        channels: of both features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2 * channels, channels // 2, 3, padding=1)
        self.change = nn.Conv2d(channels // 2, 2 * channels, 3, padding=1)
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)

    def forward(self, decoded: Tensor, seen: Tensor, fidelity: float) -> Tensor:
        """Return the decoder's features (B, C, h, w), changed by ``fidelity`` times what the degraded picture's say."""
        scale, shift = self.change(F.silu(self.enter(torch.cat([decoded, seen], 1)))).chunk(2, dim=1)
        return decoded + fidelity * (scale * decoded + shift)
