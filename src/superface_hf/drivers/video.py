"""Turn a person's video into ``Motion``. Used by the video drivers in :mod:`superface_hf.drivers.watching`.

``video_to_motion`` tracks a whole video: the person's shape comes from all frames, and the smoothing adds no delay.
``follow_motion`` gives each frame's motion as soon as the frame comes: the shape comes from the frames so far, and the
smoothing uses past frames only. Both hold the last motion where no face is found. Both start again at a cut, after
which there is another view or another person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..animation.faces import WHAT_A_FACE_NEEDS
from ..errors import NoFaceError
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion
from ..motion.motion import HEAD, TYPICAL_RANGE
from .following import DrivingFace, SpeechHeard, check_driving_face, follow_face
from .running_shape import MeasuredFrame, RunningShape

if TYPE_CHECKING:
    from ..models.tracker.base import FaceTracker

CHANNELS = tuple(TYPICAL_RANGE)
# The causal filter: cutoff in Hz of a face at rest, its rise with speed, and the cutoff of the speed itself.
REST_CUTOFF, CUTOFF_RISE, SPEED_CUTOFF = 1.0, 0.6, 3.0
# Tracking noise alone has this speed (in typical ranges a second); only faster movements raise the cutoff.
REST_SPEED = 0.5


@dataclass(frozen=True, eq=False)
class DrivenMotion:
    """The motion of a tracked video.

    Attributes:
        motion: T frames; IMAGE coordinates of the smallest square around the video's picture.
        shape: the neutral face of the person in the longest shot.
        missing: the frames in which no face was found; they hold the last motion before them (or the first after).
        shots: the first frame of each shot, from 0; each shot is fitted and smoothed alone.
    """

    motion: Motion
    shape: FaceShape
    missing: list[int]
    shots: tuple[int, ...] = (0,)


@dataclass(frozen=True, eq=False)
class FollowedMotion:
    """The motion of one frame of a video that is tracked as it comes.

    Attributes:
        motion: one frame, or None where no face is found.
        shot: the number of the shot, from 0.
        measured: the frame, which can be measured again with a later estimate of the person's shape.
    """

    motion: Motion | None
    shot: int
    measured: MeasuredFrame | None = None


def video_to_motion(
    frames: Iterable[np.ndarray],
    fps: float,
    tracker: FaceTracker,
    face_model: FaceModel | None = None,
    face: DrivingFace = "largest",
    levels: np.ndarray | None = None,
) -> DrivenMotion:
    """Track a whole video.

    Args:
        frames: (H, W, 3) uint8 each; read once, one after the other.
        fps: their rate.
        face: which of several people to track: "largest", "only", an index, or "speaking".
        levels: for "speaking", the loudness of the first frames in decibels.

    Raises:
        NoFaceError: no frame shows a face.
        SeveralFacesError: see ``face``.
        UnknownNameError: ``face`` is none of these.
    """
    check_driving_face(face)
    face_model = face_model or FaceModel.default()
    speech = SpeechHeard(fps, np.zeros(0) if levels is None else levels)
    missing: list[int] = []
    held: list[np.ndarray] = []
    shots: list[int] = []
    number = -1
    for index, (landmarks, shot) in enumerate(_landmarks(frames, tracker, face, speech)):
        if landmarks is None:
            missing.append(index)
            if held:
                held.append(held[-1])
            continue
        if shot != number:
            shots.append(index if held else 0)
            number = shot
        held.extend([landmarks] * (1 if held else index + 1))
    if not held:
        raise NoFaceError(_no_face(len(missing)))
    fitted = [
        face_model.fit(np.stack(held[start:stop]), fps)
        for start, stop in zip(shots, [*shots[1:], len(held)], strict=True)
    ]
    shape, _ = max(fitted, key=lambda shot: len(shot[1]))
    motion = Motion.concatenate([motion.smooth() for _, motion in fitted])
    return DrivenMotion(motion, shape, missing, tuple(shots))


def follow_motion(
    frames: Iterable[np.ndarray],
    fps: float,
    tracker: FaceTracker,
    face_model: FaceModel | None = None,
    face: DrivingFace = "largest",
    speech: SpeechHeard | None = None,
) -> Iterator[FollowedMotion]:
    """Track a video as it comes, in constant memory: one motion a frame.

    Args:
        frames, fps, tracker, face_model, face: see :func:`video_to_motion`.
        speech: for "speaking", the loudness, and how many seconds may be read before the first motion comes.

    Raises:
        NoFaceError: at the end, if no frame showed a face.
        SeveralFacesError: see ``face``.
    """
    face_model = face_model or FaceModel.default()
    shape: RunningShape | None = None
    smoother = CausalSmoother(fps)
    count, number = 0, 0
    for count, (landmarks, shot) in enumerate(_landmarks(frames, tracker, face, speech), start=1):  # noqa: B007 - used below
        if landmarks is None:
            yield FollowedMotion(None, shot)
            continue
        if shape is None or shot != number:
            smoother, number, shape = CausalSmoother(fps), shot, RunningShape(face_model, fps)
        shape.add(landmarks)
        measured = MeasuredFrame(landmarks, shape)
        yield FollowedMotion(smoother(measured.motion()), shot, measured)
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


def _landmarks(
    frames: Iterable[np.ndarray], tracker: FaceTracker, face: DrivingFace, speech: SpeechHeard | None
) -> Iterator[tuple[np.ndarray | None, int]]:
    """Yield, frame by frame, the face's landmarks (478, 3) in IMAGE coordinates of the square around the picture, and
    the shot."""
    squares: list[Square] = []

    def watched() -> Iterator[np.ndarray]:
        for frame in frames:
            if not squares:
                squares.append(Square.around_picture(*frame.shape[:2]))
            yield frame

    for seen in follow_face(tracker, watched(), face, name="driving_face", speech=speech):
        yield None if seen.face is None else squares[0].to_image(seen.face.landmarks), seen.shot


def _no_face(frames: int) -> str:
    return f"No face was found in any of the {frames} frames of the driving video. {WHAT_A_FACE_NEEDS}"
