"""Whether made-up faces present as the speakers do, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.made_up_faces import presentation_agreement
from superface_hf.metrics.module import NUMBER, SuperFaceMetric


class PresentationAgreement(SuperFaceMetric, predictions=NUMBER, references=NUMBER):
    """How often a made-up face looks feminine or masculine as the speaker's own does. Both are judgements of networks, and
    not of people; the one that judges pictures should not be the one that labelled.

    Args:
        predictions: how masculine each picture looks, 0 to 1.
        references: how masculine each speaker's own face was judged to look, 0 to 1.
    Returns:
        agreement: the share of pictures.
        feminine, masculine: the same, of each kind of speaker; NaN where there is none.
        majority: what always saying the commoner kind would reach.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("presentation_agreement"))
        >>> metric.compute(predictions=[0.9, 0.2], references=[0.8, 0.7])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return presentation_agreement(np.asarray(predictions), np.asarray(references))
