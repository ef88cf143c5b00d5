"""Smooth transitions from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ArrayT = TypeVar("ArrayT", "np.ndarray", "Tensor")


def smoothstep(x: ArrayT, low: float = 0.0, high: float = 1.0) -> ArrayT:
    """Map an array or a tensor smoothly from 0 at ``low`` and below to 1 at ``high`` and above (the cubic 3x² - 2x³)."""
    x = ((x - low) / (high - low)).clip(0, 1)
    return x * x * (3 - 2 * x)
