"""The video driver: a person's video -> ``Motion``.

``video_to_motion`` looks at the whole video: the person's shape comes from all frames, and the smoothing adds no delay.
``follow_motion`` gives each frame's motion as soon as the frame is there: the shape comes from the first face, and the
smoothing looks back only. Both hold the last motion where no face is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NoFaceError
from ..face_model.linear import FaceModel, FaceShape
from ..geometry import Square
from ..motion import HEAD, TYPICAL_RANGE, Motion

if TYPE_CHECKING:
    from ..models.tracker.base import FaceTracker

CHANNELS = tuple(TYPICAL_RANGE)
# The causal filter: cutoff in Hz of a face at rest, its rise with speed, and the cutoff of the speed itself.
REST_CUTOFF, CUTOFF_RISE, SPEED_CUTOFF = 1.0, 0.6, 3.0
# Tracking noise alone looks like this speed (in typical ranges a second); only what is faster opens the filter.
REST_SPEED = 0.5


@dataclass(frozen=True, eq=False)
class DrivenMotion:
    """A tracked video.

    Attributes:
        motion: T frames; IMAGE coordinates of the smallest square around the video's picture.
        shape: the person's neutral face.
        missing: the frames in which no face was found; they hold the last motion before them (or the first after).
    """

    motion: Motion
    shape: FaceShape
    missing: list[int]


def video_to_motion(
    frames: Iterable[np.ndarray], fps: float, tracker: FaceTracker, face_model: FaceModel | None = None
) -> DrivenMotion:
    """Tracks a whole video.

    Args:
        frames: (H, W, 3) uint8 each; read once, one after the other.
        fps: their rate.

    Raises:
        NoFaceError: no frame shows a face.
    """
    face_model = face_model or FaceModel.default()
    missing: list[int] = []
    held: list[np.ndarray] = []
    for index, landmarks in enumerate(_landmarks(frames, tracker)):
        if landmarks is None:
            missing.append(index)
            if held:
                held.append(held[-1])
        else:
            held.extend([landmarks] * (1 if held else index + 1))
    if not held:
        raise NoFaceError(_no_face(len(missing)))
    shape, motion = face_model.fit(np.stack(held), fps)
    return DrivenMotion(motion.smooth(), shape, missing)


def follow_motion(
    frames: Iterable[np.ndarray], fps: float, tracker: FaceTracker, face_model: FaceModel | None = None
) -> Iterator[Motion | None]:
    """Tracks a video as it comes, in constant memory: for each frame a motion of one frame, None where no face is found.

    Raises:
        NoFaceError: at the end, if no frame showed a face.
    """
    face_model = face_model or FaceModel.default()
    shape: FaceShape | None = None
    smoother = CausalSmoother(fps)
    count = 0
    for count, landmarks in enumerate(_landmarks(frames, tracker), start=1):  # noqa: B007 - the count is used below
        if landmarks is None:
            yield None
            continue
        if shape is None:
            shape, motion = face_model.fit(landmarks[None], fps)
        else:
            motion = face_model.fit_frames(shape, landmarks[None], fps)
        yield smoother(motion)
    if shape is None:
        raise NoFaceError(_no_face(count))


class CausalSmoother:
    """A one-euro filter (Casiez et al. 2012) over motions that come one frame at a time."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._last: dict[str, np.ndarray] | None = None
        self._speed: dict[str, np.ndarray] = {}

    def __call__(self, motion: Motion) -> Motion:
        values = {name: getattr(motion, name).astype(np.float64) for name in CHANNELS}
        if self._last is None:
            self._last = values
            self._speed = {name: np.zeros_like(value) for name, value in values.items()}
            return motion
        head_size = float(self._last["scale"][0])
        units = {name: unit * (head_size if name in HEAD[1:] else 1.0) for name, unit in TYPICAL_RANGE.items()}
        share = self._share(SPEED_CUTOFF)
        total = 0.0
        for name, value in values.items():
            speed = (value - self._last[name]) * (self._fps / units[name])
            self._speed[name] = self._speed[name] + share * (speed - self._speed[name])
            total += float(np.square(self._speed[name]).sum())
        share = self._share(REST_CUTOFF + CUTOFF_RISE * max(0.0, total**0.5 - REST_SPEED))
        self._last = {name: self._last[name] + share * (value - self._last[name]) for name, value in values.items()}
        return replace(motion, **self._last)  # type: ignore[arg-type]

    def _share(self, cutoff: float) -> float:
        step = 2 * np.pi * cutoff / self._fps
        return step / (1 + step)


def _landmarks(frames: Iterable[np.ndarray], tracker: FaceTracker) -> Iterator[np.ndarray | None]:
    """The main face's landmarks (478, 3) in IMAGE coordinates of the square around the picture, frame by frame."""
    squares: list[Square] = []

    def watched() -> Iterator[np.ndarray]:
        for frame in frames:
            if not squares:
                squares.append(Square.around_picture(*frame.shape[:2]))
            yield frame

    for face in tracker.follow(watched()):
        yield None if face is None else squares[0].to_image(face.landmarks)


def _no_face(frames: int) -> str:
    return (
        f"No face was found in any of the {frames} frames of the driving video. "
        "It must show a face, at least a tenth as wide as the picture."
    )
