"""``Motion`` as one row of numbers a frame, for metrics, graphs and everything else that takes arrays."""

from __future__ import annotations

import numpy as np

from ..errors import MotionError
from .arkit import EXPRESSION_REGIONS, ArkitMaps
from .motion import Motion
from .regions import ARRAYS


def row_layout() -> dict[str, tuple[int, int]]:
    """Return where each array lies in a row: name -> first and last column, the last one not included."""
    sizes = {"rotation": 3, "translation": 2, "scale": 1}
    sizes |= {name: ArkitMaps.default().sizes[name] for name in EXPRESSION_REGIONS}
    ends = np.cumsum([sizes[name] for name in ARRAYS]).tolist()
    return {name: (end - sizes[name], end) for name, end in zip(ARRAYS, ends, strict=True)}


def motion_rows(motion: Motion) -> np.ndarray:
    """Return (T, 66) float32, one row a frame: rotation 3, translation 2, scale 1, mouth, eyes, brows, gaze."""
    return np.concatenate([getattr(motion, name).reshape(len(motion), -1) for name in ARRAYS], axis=1).astype(
        np.float32
    )


def motion_of(rows: np.ndarray, fps: float) -> Motion:
    """Return the motion of :func:`motion_rows`.

    Raises:
        MotionError: the rows have another width.
    """
    layout = row_layout()
    width = max(end for _, end in layout.values())
    if rows.ndim != 2 or rows.shape[1] != width:
        raise MotionError(f"A motion is (frames, {width}) numbers, not {rows.shape}: see motion_rows().")
    parts = {name: rows[:, first:last] for name, (first, last) in layout.items()}
    return Motion(**{**parts, "scale": parts["scale"][:, 0]}, fps=fps)
