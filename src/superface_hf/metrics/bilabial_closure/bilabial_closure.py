"""How often lips touch in /p b m/, for ``evaluate``."""

import datasets
import evaluate
import numpy as np

from superface_hf.metrics.closures import bilabial_closure

DESCRIPTION = """\
On speech whose phonemes are known: the share of bilabials /p b m/ in which the lips touch, and, to show what that is worth,
the share of other sounds (labiodentals aside) in which they do too. Touching is an opening below
`superface_hf.face_model.lips.CLOSED` in any frame of the sound.
"""
INPUTS = """\
Args:
    predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients.
    symbols: for each clip the list of its phonemes, in IPA; pauses are empty.
    times: for each clip the list of their [start, end] in seconds.
    fps: frames per second of all clips.
Returns:
    closure_rate: share of bilabials with touching lips, averaged over clips that have any.
    closed_elsewhere: the same of the other sounds; low is good, 1 is a mouth that never opens.
Example:
    >>> metric = evaluate.load(superface_hf.metrics.metric_folder("bilabial_closure"))
    >>> metric.compute(predictions=[mouth], symbols=[["p", "a"]], times=[[[0.0, 0.1], [0.1, 0.3]]], fps=25)
"""
CITATION = """\
@misc{superface_hf, title={superface-hf: talking faces for the Hugging Face world}, year={2026}}
"""


@evaluate.utils.file_utils.add_start_docstrings(DESCRIPTION, INPUTS)
class BilabialClosure(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        symbols = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            inputs_description=INPUTS,
            citation=CITATION,
            features=datasets.Features({"predictions": rows, "symbols": symbols, "times": rows}),
        )

    def _compute(self, predictions, symbols, times, fps: float) -> dict[str, float]:
        rates = [
            bilabial_closure(mouth, fps, [(name, *span) for name, span in zip(names, spans, strict=True)])
            for mouth, names, spans in zip(predictions, symbols, times, strict=True)
        ]
        closure_rate, closed_elsewhere = np.nanmean(rates, axis=0)
        return {"closure_rate": float(closure_rate), "closed_elsewhere": float(closed_elsewhere)}
