"""Expression distance, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.keypoints import expression_distance, motions_of
from superface_hf.metrics.module import LANDMARKS, SuperFaceMetric


class ExpressionDistance(SuperFaceMetric, predictions=LANDMARKS, references=LANDMARKS):
    """How far the expression of rendered faces is from the true one: both are fitted by the package's face model.

    Args:
        predictions: list of clips, each (frames, 478, 3) landmarks in pixels that a tracker found in the rendered frames,
            such as ``[face.landmarks for face in tracker.follow(frames)]``.
        references: those it found in the true frames.
    Returns:
        expression_distance: mean absolute difference of mouth, eyes and brows coefficients in standard deviations.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("expression_distance"))
        >>> metric.compute(predictions=[landmarks], references=[true_landmarks])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        clips = zip(predictions, references, strict=True)
        motions = [motions_of(np.asarray(found), np.asarray(true)) for found, true in clips]
        return {"expression_distance": float(np.mean([expression_distance(*pair).mean() for pair in motions]))}
