"""Frechet distance of picture features, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.features import FeatureNetwork, frechet_distance
from superface_hf.metrics.module import PICTURE, SuperFaceMetric, as_tensor, load_pictures


class FeatureFrechetDistance(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """How far a set of pictures is, as a whole, from a set of true ones: the Frechet distance of their EfficientNet-Lite0
    features. It is what FID is, but of another network: the numbers are NOT comparable with FID. Small sets bias it upward,
    so compare only sets of the same size. Needs the extra [train].

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: the true ones, as many, of any size.
    Returns:
        feature_frechet_distance: 0 for equal sets.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("feature_frechet_distance"))
        >>> metric.compute(predictions=[picture, ...], references=[true_picture, ...])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        network = FeatureNetwork()
        sets = [
            np.concatenate([network(as_tensor(picture)).pooled.numpy() for picture in load_pictures(items)])
            for items in (predictions, references)
        ]
        return {"feature_frechet_distance": frechet_distance(*sets)}
