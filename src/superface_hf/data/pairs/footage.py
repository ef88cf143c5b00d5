"""The frames of a clip from which pairs are drawn, and how much each clip counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.topology import INNER_LIPS, LEFT_LIDS, RIGHT_LIDS, inter_ocular
from ...motion import Motion
from ...motion.regions import ARRAYS
from ..prepared_set import PreparedClip

FEWEST_PICTURES = 4


class Footage:
    """A clip's kept frames, and what is computed of them once: their motion, and how open mouth and eyes are.

    Landmarks are in image coordinates of ``square``, the clip's whole frame.
    """

    def __init__(self, clip: PreparedClip) -> None:
        self.clip = clip
        self.square = Square(0.0, 0.0, float(min(clip.size)))

    def __len__(self) -> int:
        return len(self.clip.jpegs)

    @cached_property
    def openness(self) -> np.ndarray:
        """(J, 2), see :func:`openness`."""
        return openness(self.clip.landmarks[self.clip.jpeg_index])

    @cached_property
    def motion(self) -> Motion:
        """The motion of the kept frames (J), fitted together with all others that show the face."""
        found = np.flatnonzero(self.clip.found)
        _, motion = FaceModel.default().fit(self.square.to_image(self.clip.landmarks[found]), self.clip.fps)
        kept = np.searchsorted(found, self.clip.jpeg_index)
        return Motion(**{name: getattr(motion, name)[kept] for name in ARRAYS}, fps=self.clip.fps)

    def mesh(self, position: int) -> np.ndarray:
        """Return the landmarks (478, 3) of a kept frame."""
        return self.square.to_image(self.clip.landmarks[self.clip.jpeg_index[position]])

    def picture(self, position: int, box: Square, size: int) -> np.ndarray:
        """Return a square of a kept frame, (size, size, 3) uint8."""
        edges = (box.left, box.top, box.left + box.side, box.top + box.side)
        whole = Image.fromarray(self.clip.picture(position))
        return np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC, box=edges))

    def neighbour(self, position: int) -> int:
        """Return the kept frame next to a kept one."""
        return position + 1 if position + 1 < len(self) else position - 1


def usable(clip: PreparedClip) -> bool:
    """Return whether a clip has enough pictures, each with a face."""
    return len(clip.jpegs) >= FEWEST_PICTURES and bool(clip.found[clip.jpeg_index].all())


def person_weights(clips: Sequence[Footage], balance: float) -> np.ndarray:
    """Return the probabilities (N,): many clips show the same person, and count less each. Clips without a name are one person
    each."""
    people = [footage.clip.person or footage.clip.name for footage in clips]
    count = Counter(people)
    weights = np.array([count[person] ** -balance for person in people])
    return weights / weights.sum()


def openness(landmarks: np.ndarray) -> np.ndarray:
    """Return how far mouth and eyes are open: (T, 478, 3) -> (T, 2), in inter-ocular distances (eyes weighted up)."""
    unit = inter_ocular(landmarks)

    def gap(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.mean([np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in pairs], axis=0) / unit

    return np.stack([gap(INNER_LIPS), 2.0 * (gap(LEFT_LIDS) + gap(RIGHT_LIDS))], axis=1)
