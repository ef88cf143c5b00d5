"""The share of /p b m/ in which lips touch, for ``evaluate``."""

from typing import Any

import datasets
import numpy as np

from superface_hf.metrics.closures import bilabial_closure
from superface_hf.metrics.module import SuperFaceMetric

ROWS = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
SYMBOLS = datasets.Sequence(datasets.Value("string"))


class BilabialClosure(SuperFaceMetric, predictions=ROWS, symbols=SYMBOLS, times=ROWS):
    """On speech whose phonemes are known: the share of bilabials /p b m/ in which the lips touch, and, to show
    what that is worth, the share of other sounds (labiodentals aside) in which they do too. Touching is an
    opening below `superface_hf.face_model.lips.CLOSED` in any frame of the sound.

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

    def _compute(self, predictions: list[Any], symbols: list[Any], times: list[Any], fps: float) -> dict[str, float]:
        rates = [
            bilabial_closure(mouth, fps, [(name, *span) for name, span in zip(names, spans, strict=True)])
            for mouth, names, spans in zip(predictions, symbols, times, strict=True)
        ]
        closure_rate, closed_elsewhere = np.nanmean(rates, axis=0)
        return {"closure_rate": float(closure_rate), "closed_elsewhere": float(closed_elsewhere)}
