"""Temporal flicker, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import PICTURES, SuperFaceMetric, load_pictures
from superface_hf.metrics.temporal import temporal_flicker


class TemporalFlicker(SuperFaceMetric, predictions=PICTURES, references=PICTURES):
    """Changes from frame to frame in a rendered video that the true one does not have: the mean absolute second
    difference over time of the error. A constant or evenly drifting error gives 0.

    Args:
        predictions: list of videos, each a list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: the true ones, of the same lengths and sizes; consecutive frames, at least three.
    Returns:
        temporal_flicker: in units of 1/255, averaged over videos.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("temporal_flicker"))
        >>> metric.compute(predictions=[frames], references=[true_frames])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        videos = zip(predictions, references, strict=True)
        flicker = [temporal_flicker(np.stack(load_pictures(a)), np.stack(load_pictures(b))) for a, b in videos]
        return {"temporal_flicker": float(np.mean(flicker))}
