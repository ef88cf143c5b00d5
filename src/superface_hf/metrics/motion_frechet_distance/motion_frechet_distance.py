"""Whether a face moves as people do, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.module import MOTION, SuperFaceMetric
from superface_hf.metrics.movement import motion_frechet_distance
from superface_hf.motion.rows import motion_of


class MotionFrechetDistance(SuperFaceMetric, predictions=MOTION, references=MOTION):
    """How far the movement of head, lids, brows and gaze is from that of real people: the Frechet distance (Heusel et
    al. 2017) of where each of 11 channels is, how far it spreads and how fast it goes, over windows of two seconds.

    Args:
        predictions: list of motions of at least two seconds, each (frames, 66), as
            `superface_hf.motion.rows.motion_rows` gives them.
        references: motions of real people; they need not belong to the predictions.
        fps: frames per second of all motions.
    Returns:
        motion_frechet_distance: 0 for the same distribution.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("motion_frechet_distance"))
        >>> metric.compute(predictions=[motion_rows(made)], references=[motion_rows(real)], fps=25)
    """

    def _compute(self, predictions: list[Any], references: list[Any], fps: float) -> dict[str, float]:
        made, real = ([motion_of(np.asarray(rows), fps) for rows in side] for side in (predictions, references))
        return {"motion_frechet_distance": motion_frechet_distance(made, real)}
