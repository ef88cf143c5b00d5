"""Structural similarity, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.image import mean_ssim, ssim_map
from superface_hf.metrics.module import PICTURE, SuperFaceMetric, load_pictures


class Ssim(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """Structural similarity of pictures, by scikit-image with its standard window.

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: the true ones, each of the same size.
    Returns:
        ssim: in [-1, 1], averaged over pictures; 1 is equal.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("ssim"))
        >>> metric.compute(predictions=[picture], references=[true_picture])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        pairs = zip(load_pictures(predictions), load_pictures(references), strict=True)
        return {"ssim": float(np.mean([mean_ssim(ssim_map(picture, true)) for picture, true in pairs]))}
