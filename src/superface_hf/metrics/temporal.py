"""Measure whether a rendered video flickers."""

from __future__ import annotations

import numpy as np

from ..errors import MediaError
from .image import as_floats


def temporal_flicker(rendered: np.ndarray, target: np.ndarray) -> float:
    """Return the mean absolute second difference over time of the error, in units of 1/255.

    A constant error and one that drifts evenly give 0; what comes and goes from frame to frame counts. A still picture gets
    what the true video itself has of it.

    Args:
        rendered, target: (T, H, W, 3) uint8, or floats in [0, 1]; T consecutive frames, at least three.
    """
    if rendered.shape != target.shape or len(target) < 3:
        raise MediaError(
            f"Flicker needs two videos of one size with at least three frames, not {rendered.shape} and {target.shape}."
        )
    total = 0.0
    errors = [as_floats(rendered[i]) - as_floats(target[i]) for i in (0, 1)]
    for frame, wanted in zip(rendered[2:], target[2:], strict=True):
        errors.append(as_floats(frame) - as_floats(wanted))
        total += float(np.abs(errors[0] - 2 * errors[1] + errors[2]).mean())
        errors.pop(0)
    return 255 * total / (len(target) - 2)
