"""Whether a face moves in more than one way to the same sound, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import MOTION, NUMBER_OF, SuperFaceMetric
from superface_hf.metrics.movement import FPS, head_diversity
from superface_hf.motion.rows import motion_of


class MotionDiversity(SuperFaceMetric, predictions=MOTION, references=NUMBER_OF):
    """How far the heads of several motions to the same sound are apart, as another seed would move them.

    Args:
        predictions: list of motions, each (frames, 66), as `superface_hf.motion.rows.motion_rows` gives them.
        references: a whole number for each, equal for motions to the same sound, which have the same length.
    Returns:
        motion_diversity: degrees, the mean over frames, pairs and sounds; 0 where nothing differs.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("motion_diversity"))
        >>> metric.compute(predictions=[motion_rows(one), motion_rows(other)], references=[0, 0])
    """

    def _compute(self, predictions: list[Any], references: list[int]) -> dict[str, float]:
        motions = [motion_of(np.asarray(rows), FPS) for rows in predictions]
        sounds = [
            [motion for motion, number in zip(motions, references, strict=True) if number == sound]
            for sound in dict.fromkeys(references)
        ]
        return {"motion_diversity": float(np.mean([head_diversity(each) for each in sounds]))}
