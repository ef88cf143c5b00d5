"""Read a track of one frame rate at another, as it comes."""

from __future__ import annotations

import math

import numpy as np

from .motion import check_fps


class TrackReader:
    """Takes rows at one rate and gives those at another: frame k is the track at ``k / fps`` seconds, between two rows their
    linear mean.

    Args:
        rate: rows a second that come.
        fps: frames a second that are read.
        size: values in a row.
        undecided: rows at the beginning that belong to times before the track.

    Raises:
        MotionError: ``fps`` is not above zero.
    """

    def __init__(self, rate: float, fps: float, size: int, undecided: int = 0) -> None:
        check_fps(fps)
        self._step, self._undecided = rate / fps, undecided  # rows from one frame to the next
        self._rows = np.empty((0, size), np.float32)  # from self._first on
        self._first = 0
        #: Frames that have been read.
        self.done = 0

    def add(self, rows: np.ndarray) -> None:
        """Add the next rows (n, size)."""
        skipped = min(self._undecided, len(rows))
        self._undecided -= skipped
        self._rows = np.concatenate((self._rows, rows[skipped:]))

    def missing(self, frames: int) -> int:
        """Return how many rows must come until so many frames can be read."""
        return math.ceil(self._position(frames - 1)) + 1 - self._first - len(self._rows) + self._undecided

    def read(self, limit: int) -> np.ndarray:
        """Return the frames now known, (n, size) float32, of those before frame ``limit``.

        Frames between two rows are interpolated, so the later of the two must be known.
        """
        known = self._first + len(self._rows)
        positions = self._position(np.arange(self.done, max(self.done, min(limit, math.ceil(known / self._step)))))
        positions = positions[np.ceil(positions) < known]
        lower = np.floor(positions).astype(np.int64)
        weight = (positions - lower)[:, None].astype(np.float32)
        lower -= self._first
        upper = lower + (weight[:, 0] > 0)
        frames = (1 - weight) * self._rows[lower] + weight * self._rows[upper]
        self.done += len(frames)
        passed = min(max(0, math.floor(self._position(self.done)) - self._first), len(self._rows))
        self._rows, self._first = self._rows[passed:], self._first + passed
        return frames

    def _position(self, frame: int | np.ndarray) -> np.ndarray:
        """Return the position in rows. It is rounded, as 2.9999999 would wait for row 3 and 3.0000001 for row 4."""
        return np.round(np.asarray(frame * self._step, np.float64), 6)


__all__ = ["TrackReader"]
