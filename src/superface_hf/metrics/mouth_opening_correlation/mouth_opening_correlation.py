"""Correlation of the mouth's opening with the truth, for ``evaluate``."""

import datasets
import evaluate
import numpy as np

from superface_hf.metrics.lips import opening_correlation, opening_spread

DESCRIPTION = """\
Whether a mouth opens and closes when the true one does, whatever its size: Pearson's correlation over time of how far the
inner lips are apart, which `Motion.mouth` coefficients give on the neutral mean face.
"""
INPUTS = """\
Args:
    predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients.
    references: the true mouths, of the same lengths.
Returns:
    correlation: averaged over clips, in [-1, 1]; a mouth that does not move counts as 0.
    spread: the predicted opening's standard deviation over the true one's, averaged over clips; 1 is as lively as the truth.
Example:
    >>> metric = evaluate.load(superface_hf.metrics.metric_folder("mouth_opening_correlation"))
    >>> metric.compute(predictions=[mouth], references=[mouth])
    {'correlation': 1.0, 'spread': 1.0}
"""
CITATION = """\
@misc{superface_hf, title={superface-hf: talking faces for the Hugging Face world}, year={2026}}
"""


@evaluate.utils.file_utils.add_start_docstrings(DESCRIPTION, INPUTS)
class MouthOpeningCorrelation(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        mouth = datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            inputs_description=INPUTS,
            citation=CITATION,
            features=datasets.Features({"predictions": mouth, "references": mouth}),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        clips = list(zip(predictions, references, strict=True))
        return {
            "correlation": float(np.mean([opening_correlation(predicted, true) for predicted, true in clips])),
            "spread": float(np.nanmean([opening_spread(predicted, true) for predicted, true in clips])),
        }
