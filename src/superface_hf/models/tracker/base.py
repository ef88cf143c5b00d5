"""The interface of all trackers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

# A score from CERTAIN on is hardly ever wrong; one from CLEAR on is a clearly visible face, which reaches 0.9994 at any
# roll. A mesh that lies across a face stays below 0.997; windows, doors and sockets arranged like a face may reach
# 0.999.
CERTAIN, CLEAR = 0.998, 0.9993
# The detector's score relative to the highest in the picture: a wall that the mesh's score takes for a face stays below.
EQUAL = 0.7
# The detector's score of a face alone (:class:`LooksAgain`): people's reach it, most animals' do not.
ALONE = 0.6


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a picture.

    Attributes:
        landmarks: (478, 3) float32 in pixels of the picture; x right, y down, z toward the camera in the same unit.
        score: the tracker's confidence that this is a face, in [0, 1].
        box: (4,) float32 left, top, right, bottom of the landmarks, pixels.
        detected: the detector's score relative to the highest in the picture, in [0, 1]; 1 for a followed face, 0 where it
            sees none when it looks at this place alone.
    """

    landmarks: np.ndarray
    score: float
    box: np.ndarray
    detected: float = 1.0

    @classmethod
    def of(cls, landmarks: np.ndarray, score: float, detected: float = 1.0) -> Face:
        """Make a face with the tight box of its landmarks."""
        points = np.asarray(landmarks, np.float32)
        box = np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])
        return cls(points, float(score), box, float(detected))

    @property
    def rank(self) -> int:
        """The rank of the scores, 0 to 2: faces are ordered by it before their size."""
        return (self.score >= CERTAIN) + (self.score >= CLEAR and self.detected >= EQUAL)

    @property
    def certain(self) -> bool:
        """Whether the tracker is nearly certain that this is a face."""
        return self.score >= CERTAIN

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceTracker(Protocol):
    """Finds faces in a picture and follows one through a video."""

    def find_faces(self, image: np.ndarray) -> list[Face]:
        """Return the faces of an (H, W, 3) uint8 picture, ordered by rank (:attr:`Face.rank`), then by size."""
        ...

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        """Yield the main face of every (H, W, 3) uint8 frame, None where it is not seen."""
        ...


@runtime_checkable
class LooksAgain(Protocol):
    """A tracker that can look at a face alone, which tells people from much that has the parts of a face."""

    def seen_alone(self, image: np.ndarray, face: Face) -> float:
        """Return how sure it is, in [0, 1], that there is an upright face where this one is in the picture."""
        ...
