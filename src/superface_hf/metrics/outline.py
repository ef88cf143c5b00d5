"""Whether a person's outline is where it should be."""

from __future__ import annotations

import numpy as np

HALF = 0.5  # pixels with a larger alpha are the person's


def outline_overlap(alpha: np.ndarray, target: np.ndarray) -> float:
    """Return the intersection over union of two mattes (H, W) in [0, 1]; NaN where neither shows a person."""
    ours, theirs = alpha > HALF, target > HALF
    either = (ours | theirs).sum()
    return float((ours & theirs).sum() / either) if either else float("nan")
