"""Replace the mouth in tracked landmarks: only points around the mouth move, and closed lips touch."""

from __future__ import annotations

import numpy as np

from ..face_model import topology
from ..face_model.linear import FaceModel, FaceShape
from ..face_model.lips import CLOSED
from ..motion import Motion
from ..motion.rotations import rotation_matrix

# A person's neutral face is fitted to at most so many frames, the first ones that show it.
SHAPE_FRAMES = 50
# The mean gap of the inner lips, in inter-ocular distances, that trackers report for touching lips.
TOUCHING = 0.008
# Up to this opening a mouth is shut completely; from twice that on, it keeps the opening of its coefficients.
SHUT = CLOSED
# Lips that were open close past each other by this share of their gap, limited to the second number.
PAST, MOST_PAST = 0.2, 0.05
_UPPER, _LOWER = np.array(topology.INNER_LIPS).T
# All facing pairs of the inner ring, with the outer lip above and below each.
_HALF = len(topology.LIPS_INNER) // 2
_PAIRS = tuple(
    np.stack([ring[:_HALF:-1], ring[1:_HALF]], axis=1) for ring in (topology.LIPS_INNER, topology.LIPS_OUTER)
)


class Person:
    """Collects the landmarks of one person in one shot, and fits the person's neutral face to them."""

    def __init__(self, face_model: FaceModel) -> None:
        self._face_model = face_model
        self._seen: list[np.ndarray] = []
        self._shape: FaceShape | None = None

    def add(self, landmarks: np.ndarray) -> None:
        """Add the landmarks (478, 3) of one more frame, in IMAGE coordinates."""
        if len(self._seen) < SHAPE_FRAMES:
            self._seen.append(landmarks)
            self._shape = None

    @property
    def shape(self) -> FaceShape:
        if self._shape is None:
            self._shape, _ = self._face_model.fit(np.stack(self._seen), fps=1.0)
        return self._shape


class MouthSwap:
    """Moves landmarks from a person's own mouth to another one.

    Args:
        weights: (478,) in [0, 1], how far each point follows.
    """

    def __init__(self, face_model: FaceModel, weights: np.ndarray) -> None:
        self._mean = face_model.mean.double().numpy()
        self._basis = face_model.bases["mouth"].flatten(1).double().numpy()
        self._weights = weights[:, None]
        self._shut, self._opener = shut_mouth(face_model), _opener(face_model)
        self._opening = self._offsets(self._opener[None])[0] * self._weights

    def shut(self) -> np.ndarray:
        """Return the coefficients (30,) of a neutral face whose lips touch."""
        return self._shut

    def __call__(self, landmarks: np.ndarray, own: Motion, mouth: np.ndarray, strength: float) -> np.ndarray:
        """Return the landmarks (478, 3) float32 with another mouth.

        Args:
            landmarks: (478, 3) of the frame.
            own: the person's motion in this frame, in the coordinates of ``landmarks``.
            mouth: (30,) the new coefficients.
            strength: 0 keeps the landmarks, 1 gives the new mouth.
        """
        rotation, scale = rotation_matrix(own.rotation[0]), float(own.scale[0])
        face = landmarks.astype(np.float64) @ rotation / scale
        change = strength * self._offsets(mouth[None] - own.mouth)[0] * self._weights
        # The edges of open lips carry a line of teeth along as they close, unless they move slightly past each other.
        opened = max(0.0, float(lip_gap(face)))
        touching = TOUCHING - min(MOST_PAST, PAST * opened)
        meant = meant_gap(float(lip_gap(self._mean + self._offsets(mouth[None])[0])), touching)
        wanted = (1 - strength) * opened + strength * meant
        # The basis does not explain this person's lips completely; the rest would keep them apart or let them cross.
        change = change + (wanted - float(lip_gap(face + change))) * self._opening
        change = change + _uncrossed(face + change, min(wanted, touching))
        return (landmarks + scale * change @ rotation.T).astype(np.float32)

    def _offsets(self, mouth: np.ndarray) -> np.ndarray:
        """Map mouth coefficients (T, 30) to offsets (T, 478, 3)."""
        return (mouth @ self._basis).reshape(-1, *self._mean.shape)


def shut_mouth(face_model: FaceModel) -> np.ndarray:
    """Return the coefficients (30,) of a neutral face whose lips touch."""
    return (TOUCHING - lip_gap(face_model.mean.double().numpy())) * _opener(face_model)


def _opener(face_model: FaceModel) -> np.ndarray:
    """Return the coefficients (30,) that open the mouth by one unit with the least norm."""
    opening = lip_gap(face_model.bases["mouth"].double().numpy())
    return opening / (opening @ opening)


def lip_gap(points: np.ndarray) -> np.ndarray:
    """Return the distance (...) of the lips of points (..., 478, 3) in canonical pose; below zero where the lips cross."""
    return (points[..., _LOWER, 1] - points[..., _UPPER, 1]).mean(-1)


def meant_gap(gap: float, touching: float = TOUCHING) -> float:
    """Return the lip distance for this person where the mean face's is ``gap``: a nearly shut mouth gets ``touching``."""
    if gap >= 2 * SHUT:
        return gap
    return touching + max(0.0, gap / SHUT - 1) * (2 * SHUT - touching)


def _uncrossed(face: np.ndarray, least: float) -> np.ndarray:
    """Return the movement (478, 3) that separates lips that have crossed; both lips of a pair move half of the way."""
    change = np.zeros_like(face)
    inner = _PAIRS[0]
    apart = face[inner[:, 1], 1] - face[inner[:, 0], 1]
    # Toward the corners even touching lips come closer together.
    rise = np.sin(np.linspace(0, np.pi, len(inner) + 2))[1:-1] * least
    push = np.maximum(0, rise - apart) / 2
    for pairs, share in zip(_PAIRS, (1.0, 0.5), strict=True):
        change[pairs[:, 0], 1] -= share * push
        change[pairs[:, 1], 1] += share * push
    return change
