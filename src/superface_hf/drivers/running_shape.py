"""The neutral face of a person in a video that comes frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion

# At most so many frames are kept. When there are as many, every second one goes, and only every second new one is kept.
MOST_KEPT = 48
# The shape is fitted again when so many times more frames were seen than at the last fit, up to so many frames.
GROWTH, LAST_FIT = 1.3, 1000
# A new shape is gone over to in this time, so that no frame jumps.
SETTLING = 0.2  # seconds


class RunningShape:
    """Estimates a shape from the frames seen so far: one frame cannot tell a puckered mouth from a narrow one.

    Args:
        fps: of the frames.
    """

    def __init__(self, face_model: FaceModel, fps: float) -> None:
        self.face_model, self.fps = face_model, fps
        self._kept: list[np.ndarray] = []
        self._stride, self._count, self._next = 1, 0, 1
        self._shape = self._aim = FaceShape(face_model.mean)

    @property
    def shape(self) -> FaceShape:
        """The same object until it changes."""
        return self._shape

    def add(self, landmarks: np.ndarray) -> None:
        """Takes the next frame's landmarks (478, 3), IMAGE coordinates."""
        if self._count % self._stride == 0:
            self._kept.append(landmarks)
        self._count += 1
        if len(self._kept) == MOST_KEPT:
            self._kept, self._stride = self._kept[::2], 2 * self._stride
        if self._next <= self._count <= LAST_FIT:
            self._aim, _ = self.face_model.fit(self._calm(), self.fps)
            self._next = max(self._count + 1, round(GROWTH * self._count))
        self._go_on()

    def _calm(self) -> np.ndarray:
        """The frames to fit: all that are kept; in the first seconds, when an expression can fill most of them, the calmer
        half, as the average face tells it."""
        kept = np.stack(self._kept)
        if self._stride > 1:
            return kept
        seen = self.face_model.fit_frames(FaceShape(self.face_model.mean), kept, self.fps)
        effort = np.square(np.concatenate([getattr(seen, name) for name in ("mouth", "eyes", "brows")], axis=1)).sum(1)
        return kept[np.argsort(effort)[: (len(kept) + 1) // 2]]

    def _go_on(self) -> None:
        missing = self._aim.points - self._shape.points
        if self._count == 1:
            self._shape = self._aim
        elif float(missing.abs().max()) > 1e-4:
            self._shape = FaceShape(self._shape.points + min(1.0, 1 / (SETTLING * self.fps)) * missing)


@dataclass(eq=False)
class Sight:
    """One frame's landmarks, and the motion that they mean for the shape as it is known now."""

    landmarks: np.ndarray
    running: RunningShape
    _measured: tuple[FaceShape, Motion] | None = field(default=None, init=False)

    def motion(self) -> Motion:
        """One frame, not smoothed."""
        shape = self.running.shape
        if self._measured is None or self._measured[0] is not shape:
            found = self.running.face_model.fit_frames(shape, self.landmarks[None], self.running.fps)
            self._measured = shape, found
        return self._measured[1]
