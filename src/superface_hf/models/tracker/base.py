"""What every tracker gives and takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# A score from CERTAIN on is hardly ever wrong, one from CLEAR on is a face that is seen well: those reach 0.9994 at any roll. A
# mesh that lies across a face stays below 0.997; windows, doors and sockets that are placed like a face may come to 0.999.
CERTAIN, CLEAR = 0.998, 0.9993
# The detector's score beside that of the picture's surest face: a wall that the mesh's own score takes for a face stays below.
EQUAL = 0.7


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a picture.

    Attributes:
        landmarks: (478, 3) float32 in pixels of the picture; x right, y down, z toward the camera in the same unit.
        score: how sure the tracker is that this is a face, in [0, 1].
        box: (4,) float32 left, top, right, bottom of the landmarks, pixels.
        detected: how sure the detector is, beside the picture's surest face: in [0, 1]; 1 where nothing was detected anew.
    """

    landmarks: np.ndarray
    score: float
    box: np.ndarray
    detected: float = 1.0

    @classmethod
    def of(cls, landmarks: np.ndarray, score: float, detected: float = 1.0) -> Face:
        """A face with the tight box of its landmarks."""
        points = np.asarray(landmarks, np.float32)
        box = np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)])
        return cls(points, float(score), box, float(detected))

    @property
    def rank(self) -> int:
        """The class of the scores, 0 to 2: whichever is larger, a face of a lower class comes after one of a higher."""
        return (self.score >= CERTAIN) + (self.score >= CLEAR and self.detected >= EQUAL)

    @property
    def certain(self) -> bool:
        """Whether the tracker has hardly any doubt that this is a face."""
        return self.score >= CERTAIN

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceTracker(Protocol):
    """Anything that finds faces in a picture and follows one through a video."""

    def find_faces(self, image: np.ndarray) -> list[Face]:
        """Faces of an (H, W, 3) uint8 picture: the surest first (:attr:`Face.rank`), equally sure ones largest first."""
        ...

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Face | None]:
        """The main face of every (H, W, 3) uint8 frame, None where it is not seen."""
        ...
