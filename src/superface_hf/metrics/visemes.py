"""The viseme error rate: how much of what is said cannot be read from the lips."""

from __future__ import annotations

import numpy as np

from ..models.lip_reader.configuration_lip_reader import VISEMES

REST = VISEMES.index("rest")


def said(track: np.ndarray) -> list[int]:
    """Return the visemes of a track (T,) in order: each once as long as it lasts, without rests."""
    begins = np.flatnonzero(np.diff(track, prepend=-1))
    return [int(viseme) for viseme in track[begins] if viseme != REST]


def edit_distance(one: list[int], other: list[int]) -> int:
    """Return how many entries must be inserted, left out or replaced to make one list the other (Levenshtein)."""
    row = np.arange(len(other) + 1)
    for count, entry in enumerate(one, 1):
        replaced = row[:-1] + (np.array(other, int) != entry)
        above = np.minimum(row[1:] + 1, replaced)
        # Insertions follow each other: each entry is at least one more than the one before.
        places = np.arange(1, len(other) + 1)
        row = np.concatenate([[count], np.minimum.accumulate(np.concatenate([[count], above - places]))[1:] + places])
    return int(row[-1])


def viseme_error_rate(read: np.ndarray, heard: np.ndarray) -> float:
    """Return the edit distance of the visemes read from lips (T,) to those heard (T',), over the number of those heard.

    0 is perfect; 1 and more is possible: a reader who says nothing has 1. NaN where nothing is said.
    """
    wanted = said(heard)
    return edit_distance(said(read), wanted) / len(wanted) if wanted else float("nan")
