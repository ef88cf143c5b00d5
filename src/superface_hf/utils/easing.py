"""Smooth passages from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ArrayT = TypeVar("ArrayT", "np.ndarray", "Tensor")


def smoothstep(x: ArrayT, low: float = 0.0, high: float = 1.0) -> ArrayT:
    """0 up to ``low``, 1 from ``high`` on, smooth between; of an array or a tensor."""
    x = ((x - low) / (high - low)).clip(0, 1)
    return x * x * (3 - 2 * x)
