"""Estimate the neutral face shape of a person in a live video, from the frames so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion

# The largest number of kept frames. When it is reached, every second one is dropped, and then only every second new one
# is kept.
MAX_KEPT = 48
# The shape is fitted again after GROWTH times as many frames as at the last fit, up to LAST_FIT frames.
GROWTH, LAST_FIT = 1.3, 1000
SETTLING = 0.2  # time constant in seconds of the change to a new shape, which avoids jumps


class RunningShape:
    """Estimates a shape from the frames seen so far: one frame cannot tell a puckered mouth from a narrow one.

    Args:
        face_model: the linear face model.
        fps: frames per second of the video.
    """

    def __init__(self, face_model: FaceModel, fps: float) -> None:
        self.face_model, self.fps = face_model, fps
        self._kept: list[np.ndarray] = []
        self._stride, self._count, self._next = 1, 0, 1
        self._shape = self._aim = FaceShape(face_model.mean)

    @property
    def shape(self) -> FaceShape:
        """The current shape; the same object until it changes."""
        return self._shape

    def add(self, landmarks: np.ndarray) -> None:
        """Update the shape with the next frame's landmarks (478, 3) in IMAGE coordinates."""
        if self._count % self._stride == 0:
            self._kept.append(landmarks)
        self._count += 1
        if len(self._kept) == MAX_KEPT:
            self._kept, self._stride = self._kept[::2], 2 * self._stride
        if self._next <= self._count <= LAST_FIT:
            self._aim, _ = self.face_model.fit(self._calm(), self.fps)
            self._next = max(self._count + 1, round(GROWTH * self._count))
        self._approach()

    def _calm(self) -> np.ndarray:
        """Return the frames to fit: all that are kept, but in the first seconds, when most may show one expression, only the
        half with the weakest expressions (measured with the average face)."""
        kept = np.stack(self._kept)
        if self._stride > 1:
            return kept
        seen = self.face_model.fit_frames(FaceShape(self.face_model.mean), kept, self.fps)
        effort = np.square(np.concatenate([getattr(seen, name) for name in ("mouth", "eyes", "brows")], axis=1)).sum(1)
        return kept[np.argsort(effort)[: (len(kept) + 1) // 2]]

    def _approach(self) -> None:
        missing = self._aim.points - self._shape.points
        if self._count == 1:
            self._shape = self._aim
        elif float(missing.abs().max()) > 1e-4:
            self._shape = FaceShape(self._shape.points + min(1.0, 1 / (SETTLING * self.fps)) * missing)


@dataclass(eq=False)
class MeasuredFrame:
    """A frame's landmarks, which give its motion with the current shape.

    Attributes:
        landmarks: (478, 3) in IMAGE coordinates.
        running: the shape, which later frames improve.
    """

    landmarks: np.ndarray
    running: RunningShape
    _measured: tuple[FaceShape, Motion] | None = field(default=None, init=False)

    def motion(self) -> Motion:
        """Return the frame's motion (one frame), not smoothed."""
        shape = self.running.shape
        if self._measured is None or self._measured[0] is not shape:
            found = self.running.face_model.fit_frames(shape, self.landmarks[None], self.running.fps)
            self._measured = shape, found
        return self._measured[1]
