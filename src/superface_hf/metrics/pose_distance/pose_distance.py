"""Head pose distance, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.keypoints import motions_of, pose_distance
from superface_hf.metrics.module import LANDMARKS, SuperFaceMetric


class PoseDistance(SuperFaceMetric, predictions=LANDMARKS, references=LANDMARKS):
    """How far the head's pose in rendered frames is from the true one: both are fitted by the package's face model.

    Args:
        predictions: list of clips, each (frames, 478, 3) landmarks in pixels that a tracker found in the rendered frames,
            such as ``[face.landmarks for face in tracker.follow(frames)]``.
        references: those it found in the true frames.
    Returns:
        pose_distance: the angle between the two heads in degrees, averaged over clips.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("pose_distance"))
        >>> metric.compute(predictions=[landmarks], references=[true_landmarks])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        clips = zip(predictions, references, strict=True)
        motions = [motions_of(np.asarray(found), np.asarray(true)) for found, true in clips]
        return {"pose_distance": float(np.mean([pose_distance(*pair).mean() for pair in motions]))}
