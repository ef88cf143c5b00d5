"""Show a spoken mouth on a portrait's face, so that lips touch when they should, on every face."""

from __future__ import annotations

import numpy as np

from ..face_model import topology
from ..face_model.linear import FaceModel, FaceShape
from ..face_model.lips import CLOSED
from .mouth_swap import TOUCHING, lip_gap, meant_gap

# The standard deviation, in inter-ocular distances, of the error that remains in the gap of a pair of lip points; it keeps
# corrections from needing an unlikely mouth.
TOLERANCE = 0.002
# The share of the portrait's own expression that stays in its mouth, without the part that opens the lips, so that a smiling
# person keeps smiling a little. More would widen an o.
KEPT = 0.3
_UPPER, _LOWER = np.array(topology.INNER_LIPS).T


class PortraitMouth:
    """Converts mouth coefficients of the mean face to those that open the portrait's lips equally.

    A portrait's neutral face is estimated from one picture. In one portrait the lips stay slightly apart, in another they would
    cross. The correction is computed once.

    Args:
        shape: the portrait's neutral face.
        own: (M,) the mouth coefficients of the picture.

    Attributes:
        own_gap: how far the lips are apart in the picture, canonical units.
        correction, opener, opens: (M,) what is always added; the likeliest way to open the lips by 1; by how much each
            coefficient opens them.
        gap, touching: how far the mean face's lips are apart, and those of this face where they are meant to touch.
    """

    def __init__(self, shape: FaceShape, own: np.ndarray, face_model: FaceModel) -> None:
        basis = face_model.bases["mouth"].double().numpy()
        mean, points = face_model.mean.double().numpy(), shape.points.double().numpy()
        opens = basis[:, _LOWER, 1] - basis[:, _UPPER, 1]  # (M, 3): how each coefficient opens each pair
        closer = opens @ np.linalg.inv(opens.T @ opens + TOLERANCE**2 * np.eye(opens.shape[1]))
        missing = (mean - points)[_LOWER, 1] - (mean - points)[_UPPER, 1]
        self.correction = closer @ missing + KEPT * (own - closer @ (own @ opens))
        self.gap, self.opens = float(lip_gap(mean)), opens.mean(1)
        self.opener = self.opens / (self.opens @ self.opens)  # the likeliest way to open the lips by 1
        # Lips that are apart in the picture are marked at their inner edges, with teeth in between: these must quite meet.
        self.own_gap = float(float(lip_gap(points)) + own @ self.opens)
        self.touching = 0.0 if self.own_gap > CLOSED else TOUCHING

    def __call__(self, mouth: np.ndarray) -> np.ndarray:
        """Return mouths (T, M) that open and close on this portrait as meant in mouths (T, M)."""
        gaps = self.gap + mouth @ self.opens
        change = np.array([meant_gap(gap, self.touching) for gap in gaps.tolist()]) - gaps
        return mouth + self.correction + change[:, None] * self.opener
