"""Another mouth on tracked landmarks: only points around the mouth move, and closed lips touch."""

from __future__ import annotations

import numpy as np

from ..face_model import topology
from ..face_model.linear import FaceModel, FaceShape
from ..face_model.lips import CLOSED
from ..motion import Motion
from ..motion.rotations import rotation_matrix

# A person's neutral face comes from at most so many frames, the first ones that show it.
SHAPE_FRAMES = 50
# Mean gap of the inner lips, in inter-ocular distances, that trackers give where lips touch.
TOUCHING = 0.008
# A mouth this little open is meant to be shut. From twice that on, it is as open as its coefficients say.
SHUT = CLOSED
# Lips that were open close past each other by this share of their gap, but at most by so much.
PAST, MOST_PAST = 0.2, 0.05
_UPPER, _LOWER = np.array(topology.INNER_LIPS).T
# All facing pairs of the inner ring, with the outer lip above and below each.
_HALF = len(topology.LIPS_INNER) // 2
_PAIRS = tuple(
    np.stack([ring[:_HALF:-1], ring[1:_HALF]], axis=1) for ring in (topology.LIPS_INNER, topology.LIPS_OUTER)
)


class Person:
    """One person in one shot: collects landmarks, and knows the neutral face that they have in common."""

    def __init__(self, face_model: FaceModel) -> None:
        self._face_model = face_model
        self._seen: list[np.ndarray] = []
        self._shape: FaceShape | None = None

    def add(self, landmarks: np.ndarray) -> None:
        """One more frame, (478, 3) IMAGE coordinates."""
        if len(self._seen) < SHAPE_FRAMES:
            self._seen.append(landmarks)
            self._shape = None

    @property
    def shape(self) -> FaceShape:
        if self._shape is None:
            self._shape, _ = self._face_model.fit(np.stack(self._seen), fps=1.0)
        return self._shape


class MouthSwap:
    """Moves landmarks from the mouth that a person has to the one that they shall have.

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
        """(30,): the coefficients of a neutral face whose lips touch."""
        return self._shut

    def __call__(self, landmarks: np.ndarray, own: Motion, mouth: np.ndarray, strength: float) -> np.ndarray:
        """The landmarks (478, 3) float32 with another mouth.

        Args:
            landmarks: (478, 3) of the frame.
            own: the person's motion in this frame, in the coordinates of ``landmarks``.
            mouth: (30,) the coefficients to show.
            strength: 0 leaves the landmarks as they are, 1 gives the new mouth.
        """
        rotation, scale = rotation_matrix(own.rotation[0]), float(own.scale[0])
        face = landmarks.astype(np.float64) @ rotation / scale
        change = strength * self._offsets(mouth[None] - own.mouth)[0] * self._weights
        # Edges of open lips that close carry a line of teeth along, unless they go a little past each other.
        opened = max(0.0, float(lip_gap(face)))
        touching = TOUCHING - min(MOST_PAST, PAST * opened)
        meant = meant_gap(float(lip_gap(self._mean + self._offsets(mouth[None])[0])), touching)
        wanted = (1 - strength) * opened + strength * meant
        # What the basis does not explain of this person's lips would keep them apart, or push them into each other.
        change = change + (wanted - float(lip_gap(face + change))) * self._opening
        change = change + _uncrossed(face + change, min(wanted, touching))
        return (landmarks + scale * change @ rotation.T).astype(np.float32)

    def _offsets(self, mouth: np.ndarray) -> np.ndarray:
        """(T, 30) -> (T, 478, 3)."""
        return (mouth @ self._basis).reshape(-1, *self._mean.shape)


def shut_mouth(face_model: FaceModel) -> np.ndarray:
    """(30,): the coefficients of a neutral face whose lips touch."""
    return (TOUCHING - lip_gap(face_model.mean.double().numpy())) * _opener(face_model)


def _opener(face_model: FaceModel) -> np.ndarray:
    """(30,): the likeliest way to open the mouth by one unit."""
    opening = lip_gap(face_model.bases["mouth"].double().numpy())
    return opening / (opening @ opening)


def lip_gap(points: np.ndarray) -> np.ndarray:
    """How far lips are apart, (..., 478, 3) in canonical pose -> (...); below zero where they cross."""
    return (points[..., _LOWER, 1] - points[..., _UPPER, 1]).mean(-1)


def meant_gap(gap: float, touching: float = TOUCHING) -> float:
    """How far lips are to be apart where the mean face's would be ``gap`` apart: nearly shut means ``touching``."""
    if gap >= 2 * SHUT:
        return gap
    return touching + max(0.0, gap / SHUT - 1) * (2 * SHUT - touching)


def _uncrossed(face: np.ndarray, least: float) -> np.ndarray:
    """The movement (478, 3) that parts lips that have crossed, each pair meeting halfway."""
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
