"""Measure whether straight lines stay straight: dark lines on a lighter wall, found again in a picture that should not
move them.

Lines run from the top to the bottom of one channel of a picture, (H, W). Those that run from left to right are lines of the
transposed channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A line's width as the standard deviation of a Gaussian, and how far to each side a line is searched, in pixels.
SPREAD, REACH = 1.3, 12
# Pixels that are darker than the wall by more than this share of a line's depth belong to the line.
DARK = 0.3
# A line with less than this share of its darkness has disappeared, and counts as moved by ``REACH``.
GONE = 0.4
# Shifts are means over so many pixels along the line.
RUN = 8


@dataclass(frozen=True)
class Line:
    """The line through ``(start + slope * y, y)``, in pixels."""

    start: float
    slope: float

    def places(self, height: int) -> np.ndarray:
        """Return the line's position (height,) in the middle of each row."""
        return self.start + self.slope * (np.arange(height) + 0.5)


def draw_lines(lines: list[Line], height: int, width: int) -> np.ndarray:
    """Return a picture (height, width) in [0, 1] of lines: 1 on a line, 0 on the wall."""
    columns = np.arange(width) + 0.5
    drawn = [np.exp(-0.5 * np.square((columns - line.places(height)[:, None]) / SPREAD)) for line in lines]
    return np.max(drawn, axis=0)


def bend(picture: np.ndarray, source: np.ndarray, lines: list[Line], seen: np.ndarray, depth: float) -> float:
    """Return the largest displacement of any line, in pixels; NaN where no part of any line is visible.

    Args:
        picture, source: (H, W) one channel, levels of a pixel; with and without the change.
        lines: those that ``source`` shows.
        seen: (H, W) bool, where nothing hides them.
        depth: by how many levels a line is darker than the wall.
    """
    shifts = np.concatenate([line_shifts(picture, source, line, seen, depth) for line in lines])
    shifts = np.abs(shifts[np.isfinite(shifts)])
    return float(shifts.max()) if len(shifts) else float("nan")


def line_shifts(picture: np.ndarray, source: np.ndarray, line: Line, seen: np.ndarray, depth: float) -> np.ndarray:
    """Return the displacement (H // RUN,) of each piece of a line; NaN where its surroundings are not completely visible."""
    height, width = source.shape
    columns = np.floor(line.places(height)).astype(int)[:, None] + np.arange(-REACH, REACH + 1)
    inside = ((columns >= 0) & (columns < width)).all(1)
    columns = columns.clip(0, width - 1)
    rows = np.arange(height)[:, None]
    there, before = _place(picture[rows, columns], depth), _place(source[rows, columns], depth)
    shifts = np.where(np.isfinite(there), there - before, REACH)
    shifts[~(inside & seen[rows, columns].all(1))] = np.nan
    return shifts[: height // RUN * RUN].reshape(-1, RUN).mean(1)


def _place(around: np.ndarray, depth: float) -> np.ndarray:
    """Return the position of the dark line in a window (N, W) of levels; NaN where it has disappeared."""
    wall = np.median(around, axis=1, keepdims=True)
    darkness = np.maximum(wall - around.astype(np.float64) - DARK * depth, 0)
    amount = darkness.sum(1)
    place = (darkness * np.arange(around.shape[1])).sum(1) / np.maximum(amount, 1e-9)
    whole = np.maximum(np.exp(-0.5 * np.square(np.arange(-REACH, REACH + 1) / SPREAD)) - DARK, 0).sum() * depth
    return np.where(amount > GONE * whole, place, np.nan)
