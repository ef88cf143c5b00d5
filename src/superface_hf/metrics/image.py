"""How far a rendered picture is from the true one."""

from __future__ import annotations

import numpy as np


def box_mask(boxes: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The union of boxes (x0, y0, x1, y1 in pixels) as a (height, width) bool mask."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = True
    return mask


def psnr(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of (H, W, 3) pictures in [0, 1], over ``mask`` (H, W) if given.

    Equal pictures give 100 dB instead of infinity, so that means stay finite.
    """
    error = np.square(predicted.astype(np.float64) - target)
    mean = float(error[mask].mean() if mask is not None else error.mean())
    return -10.0 * float(np.log10(max(mean, 1e-10)))
