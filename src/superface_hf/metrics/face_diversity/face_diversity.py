"""Whether another seed gives another face, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.made_up_faces import face_diversity
from superface_hf.metrics.module import EMBEDDING, NUMBER_OF, SuperFaceMetric


class FaceDiversity(SuperFaceMetric, predictions=EMBEDDING, references=NUMBER_OF):
    """How far the made-up faces of one voice are apart, by embeddings of a face recognition network that took no part in
    drawing them, such as dlib's (`superface_hf.metrics.identity.IdentityNetwork`); two real people are about 0.8 apart.

    Args:
        predictions: the embeddings, each (128,).
        references: a whole number for each, equal for faces of the same voice.
    Returns:
        face_diversity: the Euclidean distance, averaged over pairs of a voice, then over voices; 0 for always the same face.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("face_diversity"))
        >>> metric.compute(predictions=embeddings, references=[0, 0, 1, 1])
    """

    def _compute(self, predictions: list[Any], references: list[int]) -> dict[str, float]:
        return {"face_diversity": face_diversity(np.asarray(predictions), np.asarray(references))}
