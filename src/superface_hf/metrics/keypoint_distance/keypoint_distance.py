"""Average keypoint distance, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.keypoints import keypoint_distance
from superface_hf.metrics.module import LANDMARKS, SuperFaceMetric


class KeypointDistance(SuperFaceMetric, predictions=LANDMARKS, references=LANDMARKS):
    """Average keypoint distance (AKD): how far the 478 landmarks of rendered faces are from those of the true ones.

    Args:
        predictions: list of clips, each (frames, 478, 3) landmarks in pixels that a tracker found in the rendered frames,
            such as ``[face.landmarks for face in tracker.follow(frames)]``.
        references: those it found in the true frames.
    Returns:
        keypoint_distance: in percent of the true face's width (cheekbone to cheekbone), averaged over clips; 0 is perfect.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("keypoint_distance"))
        >>> metric.compute(predictions=[landmarks], references=[true_landmarks])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        clips = zip(predictions, references, strict=True)
        distances = [keypoint_distance(np.asarray(found), np.asarray(true)).mean() for found, true in clips]
        return {"keypoint_distance": float(np.mean(distances))}
