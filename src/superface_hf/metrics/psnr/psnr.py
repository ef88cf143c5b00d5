"""Peak signal-to-noise ratio, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.image import as_floats, psnr
from superface_hf.metrics.module import PICTURE, SuperFaceMetric, load_pictures


class Psnr(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """Peak signal-to-noise ratio of pictures. Equal pictures count as 100 dB, so that means stay finite.

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: the true ones, each of the same size.
    Returns:
        psnr: in dB, averaged over pictures.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("psnr"))
        >>> metric.compute(predictions=[picture], references=[true_picture])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        pairs = zip(load_pictures(predictions), load_pictures(references), strict=True)
        return {"psnr": float(np.mean([psnr(as_floats(picture), as_floats(true)) for picture, true in pairs]))}
