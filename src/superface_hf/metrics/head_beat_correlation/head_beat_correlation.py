"""Whether the head moves with the voice, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import MOTION, SOUND, SuperFaceMetric
from superface_hf.metrics.movement import FPS, head_beat_correlation
from superface_hf.motion.rows import motion_of


class HeadBeatCorrelation(SuperFaceMetric, predictions=MOTION, references=SOUND):
    """Whether the head moves where the voice is loud: Pearson's correlation of the head's speed with the loudness, both
    averaged over 0.2 s.

    Args:
        predictions: list of motions at 25 frames per second, each (frames, 66), as
            `superface_hf.motion.rows.motion_rows` gives them.
        references: the loudness of their sounds, each (frames,): the mean square of each frame in decibels.
    Returns:
        head_beat_correlation: averaged over clips, in [-1, 1]; a head that does not move counts as 0.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("head_beat_correlation"))
        >>> metric.compute(predictions=[motion_rows(made)], references=[loudness])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        found = [head_beat_correlation(motion_of(np.asarray(rows), FPS), np.asarray(heard)) for rows, heard in pairs]
        return {"head_beat_correlation": float(np.mean(found))}
