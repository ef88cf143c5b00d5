"""``Motion`` as the rows that a student's graph takes."""

from __future__ import annotations

import numpy as np

from ..motion import Motion


def rows_of(motion: Motion, layout: dict[str, tuple[int, int]]) -> np.ndarray:
    """(T, K) float32; ``layout`` says which columns hold which of the motion's arrays."""
    rows = np.empty((len(motion), max(last for _, last in layout.values())), np.float32)
    for name, (first, last) in layout.items():
        rows[:, first:last] = getattr(motion, name).reshape(len(motion), -1)
    return rows
