"""Compare a rendered picture with the true one, pixel by pixel. Pictures are (H, W, 3) in [0, 1]."""

from __future__ import annotations

import numpy as np

# scikit-image's window; the mean leaves out the border that it does not fit into.
SSIM_WINDOW = 7


def box_mask(boxes: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Return the union of boxes (x0, y0, x1, y1 in pixels) as a (height, width) bool mask."""
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = True
    return mask


def as_floats(picture: np.ndarray) -> np.ndarray:
    """Convert uint8 (0 to 255) or floats (0 to 1) of any shape to float32 in [0, 1]."""
    return picture.astype(np.float32) / 255 if picture.dtype == np.uint8 else np.asarray(picture, np.float32)


def psnr(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures (H, W, 3) in [0, 1], over ``mask`` (H, W) if given.

    Equal pictures give 100 dB instead of infinity, so that means stay finite.
    """
    error = np.square(predicted.astype(np.float64) - target)
    mean = float(error[mask].mean() if mask is not None else error.mean())
    return -10.0 * float(np.log10(max(mean, 1e-10)))


def ssim_map(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the structural similarity around each pixel, averaged over the three colours: (H, W) in [-1, 1]. Needs
    scikit-image."""
    from skimage.metrics import structural_similarity

    predicted, target = as_floats(predicted), as_floats(target)
    return structural_similarity(predicted, target, win_size=SSIM_WINDOW, channel_axis=-1, data_range=1.0, full=True)[
        1
    ].mean(-1)


def mean_ssim(similarity: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the mean of an ``ssim_map`` (H, W), over ``mask`` (H, W) if given."""
    border = SSIM_WINDOW // 2
    return float(similarity[mask].mean() if mask is not None else similarity[border:-border, border:-border].mean())


def colour_shift(predicted: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the differences of the mean red, green and blue in ``mask`` (H, W): (3,) in units of 1/255."""
    return 255 * (as_floats(predicted)[mask].astype(np.float64).mean(0) - as_floats(source)[mask].mean(0))
