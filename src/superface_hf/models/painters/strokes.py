"""How a network changes colours."""

from __future__ import annotations

import torch
from torch import Tensor


def repainted(colours: Tensor, strokes: Tensor) -> Tensor:
    """Colours (B, 3, h, w) in [0, 1], moved by strokes (B, 3, h, w) in logits. Strokes of zero leave them as they are."""
    inside = colours.clamp(0.004, 0.996)
    return torch.sigmoid(torch.logit(inside) + strokes) + (colours - inside)
