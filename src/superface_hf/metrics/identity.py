"""Measure whether a rendered face is the same person, by a network that no training here uses.

It is dlib's face recognition network (packages ``dlib`` and ``face_recognition_models``, public domain). Faces are aligned
by our landmarks, so it also works on drawn faces, which dlib's own detector misses.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SuperFaceError

# The points by which dlib aligns a face, in its order: the person's left eye (outer, inner corner), the right one, and the
# base of the nose.
ALIGNED_BY = (263, 362, 33, 133, 2)
CHIP_SIDE, CHIP_PADDING = 150, 0.25  # of the network's training pictures
DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"


class IdentityNetwork:
    """Embeds faces.

    Raises:
        SuperFaceError: dlib or its weights are not installed.
    """

    def __init__(self) -> None:
        # The package is found, not imported: its import needs pkg_resources, which newer setuptools no longer have.
        spec = importlib.util.find_spec("face_recognition_models")
        try:
            import dlib
        except ImportError:
            dlib = None
        if dlib is None or spec is None or spec.origin is None:
            raise SuperFaceError(
                "Identity similarity needs dlib and its weights: pip install dlib-bin face_recognition_models "
                "(or dlib, which compiles for some minutes)."
            )
        self._dlib: Any = dlib
        self._network = dlib.face_recognition_model_v1(str(Path(spec.origin).parent / "models" / DLIB_FILE))

    def __call__(self, pictures: list[np.ndarray], landmarks: list[np.ndarray]) -> np.ndarray:
        """Return embeddings (N, 128) of the faces with ``landmarks`` (478, >=2) in pixels in N pictures (H, W, 3) uint8."""
        if not pictures:
            return np.empty((0, 128))
        chips = [self._chip(picture, points) for picture, points in zip(pictures, landmarks, strict=True)]
        return np.array(self._network.compute_face_descriptor(chips), np.float64)

    def _chip(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        low, high = (np.rint(edge(points[:, :2], axis=0)).astype(int) for edge in (np.min, np.max))
        box = self._dlib.rectangle(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        corners = [self._dlib.point(round(float(x)), round(float(y))) for x, y in points[list(ALIGNED_BY), :2]]
        face = self._dlib.full_object_detection(box, self._dlib.points(corners))
        return self._dlib.get_face_chip(np.ascontiguousarray(picture), face, CHIP_SIDE, CHIP_PADDING)


def identity_similarity(embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of embeddings (..., 128): 1 for the same picture, about 0.75 to 0.85 for two strangers."""
    lengths = np.linalg.norm(embeddings, axis=-1) * np.linalg.norm(others, axis=-1)
    return (embeddings * others).sum(-1) / lengths


def identity_distance(embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of embeddings (..., 128), on which dlib's network was trained: below 0.6, the same
    person."""
    return np.linalg.norm(embeddings - others, axis=-1)
