"""Correlation of the mouth's opening with the truth, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.lips import opening_correlation, opening_spread
from superface_hf.metrics.module import MOUTH, SuperFaceMetric


class MouthOpeningCorrelation(SuperFaceMetric, predictions=MOUTH, references=MOUTH):
    """Whether a mouth opens and closes when the true one does, however large it is: Pearson's correlation over
    time of how far the inner lips are apart, which `Motion.mouth` coefficients give on the neutral mean face.

    Args:
        predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients.
        references: the true mouths, of the same lengths.
    Returns:
        correlation: averaged over clips, in [-1, 1]; a mouth that does not move counts as 0.
        spread: the predicted opening's standard deviation over the true one's, averaged over clips; 1 is as lively.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("mouth_opening_correlation"))
        >>> metric.compute(predictions=[mouth], references=[mouth])
        {'correlation': 1.0, 'spread': 1.0}
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        clips = list(zip(predictions, references, strict=True))
        return {
            "correlation": float(np.mean([opening_correlation(predicted, true) for predicted, true in clips])),
            "spread": float(np.nanmean([opening_spread(predicted, true) for predicted, true in clips])),
        }
