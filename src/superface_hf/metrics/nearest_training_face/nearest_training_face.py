"""Whether a made-up face is that of somebody who was trained on, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.made_up_faces import NEAR, nearest_training_face
from superface_hf.metrics.module import EMBEDDING, SuperFaceMetric


class NearestTrainingFace(SuperFaceMetric, predictions=EMBEDDING):
    """How near made-up faces come to the faces that the space of portraits was fitted on, by embeddings of dlib's network
    (`superface_hf.metrics.identity.IdentityNetwork`), for which below 0.6 is taken for the same person.

    Args:
        predictions: the embeddings of made-up faces, each (128,).
        training: the embeddings of the training faces, (M, 128).
    Returns:
        least, median: of the distances to the nearest training face.
        near: the share of made-up faces that lie below 0.45 from one.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("nearest_training_face"))
        >>> metric.compute(predictions=embeddings, training=training_embeddings)
    """

    def _compute(self, predictions: list[Any], training: Any) -> dict[str, float]:
        nearest = nearest_training_face(np.asarray(predictions), np.asarray(training))
        return {
            "least": float(nearest.min()), "median": float(np.median(nearest)), "near": float((nearest < NEAR).mean()),
        }  # fmt: skip
