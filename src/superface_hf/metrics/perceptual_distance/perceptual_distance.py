"""Perceptual distance, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.features import FeatureNetwork, perceptual_distance
from superface_hf.metrics.module import PICTURE, SuperFaceMetric, as_tensor, load_pictures


class PerceptualDistance(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """Perceptual distance of pictures in the features of EfficientNet-Lite0 with ImageNet weights. It is made like LPIPS, but
    without its learned weights and on another network: the numbers are NOT comparable with LPIPS. Needs the extra [train].

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays;
            sides should be multiples of 32.
        references: the true ones, each of the same size.
    Returns:
        perceptual_distance: averaged over pictures; 0 is equal.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("perceptual_distance"))
        >>> metric.compute(predictions=[picture], references=[true_picture])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        network = FeatureNetwork()
        distances = [
            perceptual_distance(network(as_tensor(picture)), network(as_tensor(true)))
            for picture, true in zip(load_pictures(predictions), load_pictures(references), strict=True)
        ]
        return {"perceptual_distance": float(np.mean(distances))}
