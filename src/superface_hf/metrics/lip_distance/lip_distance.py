"""Lip landmark distance and its velocity, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.lips import lip_distance, lip_velocity_distance
from superface_hf.metrics.module import MOUTH, SuperFaceMetric

CITATION = """\
@inproceedings{chen2018lip, title={Lip Movements Generation at a Glance}, booktitle={ECCV}, year={2018},
  author={Chen, Lele and Li, Zhiheng and Maddox, Ross K and Duan, Zhiyao and Xu, Chenliang}}
"""


class LipDistance(SuperFaceMetric, predictions=MOUTH, references=MOUTH):
    """Distance of predicted lips from the true ones (LMD), and of their velocities (LVD). Lips are the 40
    points of the outer and inner lip ring that the `Motion.mouth` coefficients give on the neutral mean face,
    so head pose and identity play no part.

    Args:
        predictions: list of clips, each (frames, 30) `Motion.mouth` coefficients.
        references: the true mouths, of the same lengths.
        fps: frames per second of all clips.
    Returns:
        lmd: mean distance in percent of the inter-ocular distance, averaged over clips; 0 is perfect.
        lvd: mean distance of velocities, in percent of the inter-ocular distance a second; 0 is perfect.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("lip_distance"))
        >>> metric.compute(predictions=[mouth], references=[mouth], fps=25)
        {'lmd': 0.0, 'lvd': 0.0}
    """

    CITATION = CITATION

    def _compute(self, predictions: list[Any], references: list[Any], fps: float) -> dict[str, float]:
        clips = list(zip(predictions, references, strict=True))
        return {
            "lmd": float(np.mean([lip_distance(predicted, true) for predicted, true in clips])),
            "lvd": float(np.mean([lip_velocity_distance(predicted, true, fps) for predicted, true in clips])),
        }
