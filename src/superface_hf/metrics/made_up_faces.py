"""Whether made-up faces are different, nobody's, and of the kind that was asked for: on embeddings and judgements of networks
that took no part in drawing them."""

from __future__ import annotations

import numpy as np

NEAR = 0.45  # dlib's distance below which a made-up face would be too near to a training face


def face_diversity(embeddings: np.ndarray, voices: np.ndarray) -> float:
    """Return the mean distance between the faces of one voice, averaged over voices.

    Args:
        embeddings: (N, D).
        voices: (N,) whose.

    Returns:
        NaN where no voice has two faces.
    """
    means = []
    for voice in np.unique(voices):
        own = embeddings[voices == voice]
        apart = np.linalg.norm(own[:, None] - own[None], axis=2)[np.triu_indices(len(own), 1)]
        if len(apart):
            means.append(float(apart.mean()))
    return float(np.mean(means)) if means else float("nan")


def nearest_training_face(embeddings: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of each of (N, D) embeddings to the nearest of (M, D) training faces."""
    return np.linalg.norm(embeddings[:, None] - training[None], axis=2).min(1)


def presentation_agreement(pictures: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """Return the share of pictures that look as masculine or feminine as their people do, of all and of each kind.

    Args:
        pictures, people: (N,) how masculine, 0 to 1.
    """
    masculine = people > 0.5
    agrees = (pictures > 0.5) == masculine

    def share(rows: np.ndarray) -> float:
        return float(rows.mean()) if len(rows) else float("nan")

    return {
        "agreement": share(agrees), "feminine": share(agrees[~masculine]), "masculine": share(agrees[masculine]),
        "majority": float(max(masculine.mean(), 1 - masculine.mean())),
    }  # fmt: skip
