"""A transformer that names the codebook's entries of a clean picture, seeing the features of a degraded one.

It sees square windows of tokens. Larger grids are covered by overlapping windows, whose logits are blended.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CodeTransformer(nn.Module):
    """Predicts logits of codes (B, K, h, w) for features (B, D, h, w) of up to ``window`` x ``window`` tokens.

    Args:
        codes, code_size: K and D.
        hidden_size, num_layers, num_heads: size of the transformer.
        window: tokens along the side of a window.
    """

    def __init__(
        self, codes: int, code_size: int, hidden_size: int, num_layers: int, num_heads: int, window: int
    ) -> None:
        super().__init__()
        self.window = window
        self.enter = nn.Linear(code_size, hidden_size)
        self.rows = nn.Parameter(0.02 * torch.randn(window, hidden_size))
        self.columns = nn.Parameter(0.02 * torch.randn(window, hidden_size))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                hidden_size,
                num_heads,
                4 * hidden_size,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, codes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        place = self.rows[:height, None] + self.columns[None, :width]
        x = self.enter(features.permute(0, 2, 3, 1)) + place
        x = x.flatten(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).transpose(1, 2).unflatten(2, (height, width))

    def whole(self, features: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) of a grid of any size: overlapping windows, blended by weights that fall to the
        windows' borders."""
        height, width = features.shape[-2:]
        rows, columns = (window_starts(length, self.window) for length in (height, width))
        if len(rows) == len(columns) == 1:
            return self(features)
        total, weights = None, features.new_zeros(1, 1, height, width)
        for top in rows:
            for left in columns:
                here = (..., slice(top, top + self.window), slice(left, left + self.window))
                logits = self(features[here])
                weight = _falling(logits.shape[-2])[:, None] * _falling(logits.shape[-1])
                weight = weight.to(logits)
                if total is None:
                    total = logits.new_zeros(len(logits), logits.shape[1], height, width)
                total[here] += logits * weight
                weights[here] += weight
        assert total is not None
        return total / weights


def window_starts(length: int, window: int) -> list[int]:
    """Return where windows start that cover ``length`` tokens and overlap by at least half."""
    if length <= window:
        return [0]
    count = -(-(length - window) // (window // 2)) + 1
    return [round(number * (length - window) / (count - 1)) for number in range(count)]


def _falling(length: int) -> Tensor:
    """Return weights (length,) that fall linearly from the middle to both ends."""
    place = torch.arange(length)
    return torch.minimum(place + 1, length - place).float()
