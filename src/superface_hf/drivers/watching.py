"""The video drivers: a video that is tracked as a whole, or as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from types import GeneratorType

import numpy as np
import torch
from transformers.utils import logging

from ..animation.rest import Rest, RunningRest, calmest
from ..animation.retargeting import resampled
from ..face_model.linear import FaceModel
from ..media import SoundReader, VideoReader
from ..media.samples import SPEECH_RATE
from ..media.video import DEFAULT_FPS
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from .base import Piece, split
from .following import WATCHED, DrivingFace, SpeechHeard
from .loudness import LoudnessMeter
from .video import DrivenMotion, follow_motion, video_to_motion

logger = logging.get_logger(__name__)

# The seconds of a streamed video in which the speaker is found.
WATCHED_LIVE = 2.0  # seconds


def watch_video(
    reader: VideoReader,
    tracker: FaceTracker,
    face_model: FaceModel | None = None,
    face: DrivingFace = "largest",
    frames: Iterable[np.ndarray] | None = None,
) -> DrivenMotion:
    """Track a video as a whole: smoothed without delay, the person's shape from all frames.

    Args:
        reader: the video.
        tracker, face_model, face: see :func:`~superface_hf.drivers.video.video_to_motion`.
        frames: the reader's frames, if they pass through an iterator that counts or limits them.

    Raises:
        MediaError: the video cannot be read.
        NoFaceError, SeveralFacesError, UnknownNameError: see :func:`~superface_hf.drivers.video.video_to_motion`.
    """
    levels = levels_of(reader) if face == "speaking" else None
    with torch.inference_mode():
        seen = reader if frames is None else frames
        driven = video_to_motion(seen, reader.fps, tracker, face_model, face, levels)
    report_missing(driven.missing, len(driven.motion))
    return driven


class TrackedDriver:
    """Drives with a video that was tracked as a whole; each shot has its own rest pose.

    Args:
        driven: the result of :func:`watch_video`.
        fps: the frame rate of the motion; None keeps the video's.
        sound: the video's sound.
    """

    def __init__(self, driven: DrivenMotion, fps: float | None = None, sound: SoundReader | None = None) -> None:
        self.sound, self.missing = sound, driven.missing
        own, fps = driven.motion, fps or driven.motion.fps
        starts = np.array(driven.shots)
        position = np.minimum(np.arange(max(1, round(len(own) * fps / own.fps))) * (own.fps / fps), len(own) - 1)
        before = position.astype(int)
        after = np.minimum(before + 1, len(own) - 1)
        shot = np.searchsorted(starts, before, side="right") - 1
        motion = own if fps == own.fps else own.resample(fps)
        between = (position > before) & (shot != np.searchsorted(starts, after, side="right") - 1)
        if between.any():  # do not interpolate between two shots
            held = [
                replace(own[int(start)], fps=fps) if cut else motion[index]
                for index, (start, cut) in enumerate(zip(before, between, strict=True))
            ]
            motion = Motion.concatenate(held)
        ends = [*driven.shots[1:], len(own)]
        rests = [
            Rest(calmest(own[start:stop]), still=len(own) == 1) for start, stop in zip(driven.shots, ends, strict=True)
        ]
        self._motion, self._shot, self._rests = motion, shot, rests
        self.fps, self.frames = fps, len(motion)

    def pieces(self) -> Iterator[Piece]:
        for number, rest in enumerate(self._rests):
            inside = np.flatnonzero(self._shot == number)
            if len(inside):
                for part in split(self._motion[int(inside[0]) : int(inside[-1]) + 1]):
                    yield Piece(part, rest=rest)


class FollowedVideo:
    """Drives with a video, or a generator of its frames (H, W, 3) uint8, that is tracked as it comes.

    The last motion is held where no face is found.

    Args:
        video: a reader, or a generator, whose frames are used as they come.
        tracker, face_model, face: see :func:`~superface_hf.drivers.video.follow_motion`.
        fps: the rate of the motion, and of a generator's frames; None is the video's, or 25.
    """

    frames: int | None = None
    sound: SoundReader | None = None
    missing: tuple[int, ...] = ()

    def __init__(
        self,
        video: VideoReader | GeneratorType,
        tracker: FaceTracker,
        face_model: FaceModel,
        face: DrivingFace = "largest",
        fps: float | None = None,
    ) -> None:
        self._tracker, self._face_model, self._face = tracker, face_model, face
        self._live = not isinstance(video, VideoReader)
        self._frames: Iterable[np.ndarray] = video
        if isinstance(video, VideoReader):
            self._rate = video.fps
            levels = levels_of(video, WATCHED_LIVE) if face == "speaking" else None
            heard = SpeechHeard(self._rate, seconds=WATCHED_LIVE)
            self._heard = heard if levels is None else SpeechHeard(self._rate, levels, WATCHED_LIVE)
        else:
            self._rate = fps or DEFAULT_FPS
            self._heard = SpeechHeard(self._rate, seconds=WATCHED_LIVE)
        self.fps = fps or self._rate
        self._running = RunningRest()
        self._rest: Rest | None = None
        self._cut = self._still = False

    def pieces(self) -> Iterator[Piece]:
        for motion in resampled(self._motions(), self._rate, self.fps, lambda: self._cut):
            yield Piece(motion, rest=self._rest)

    def _motions(self) -> Iterator[Motion | None]:
        last: Motion | None = None
        missing: list[int] = []
        count, shot = 0, 0
        with torch.inference_mode():
            seen = follow_motion(self._watched(), self._rate, self._tracker, self._face_model, self._face, self._heard)
            for count, frame in enumerate(seen, start=1):
                self._cut = frame.motion is not None and frame.shot != shot
                if frame.motion is None:
                    missing.append(count - 1)
                else:
                    last, shot = frame.motion, frame.shot
                    again = None if frame.measured is None else frame.measured.motion
                    self._rest = replace(self._running(last, shot, again), still=self._still)
                yield last
        report_missing(missing, count)

    def _watched(self) -> Iterator[np.ndarray]:
        frames = iter(self._frames)
        if not self._live:
            first = list(islice(frames, 2))
            self._still = len(first) == 1
            yield from first
        yield from frames


def levels_of(reader: VideoReader, seconds: float = WATCHED) -> np.ndarray:
    """Return the loudness of each of a video's first frames, in decibels; empty where it has no sound."""
    sound = reader.sound_reader()
    if sound is None:
        return np.zeros(0)
    meter, heard = LoudnessMeter(reader.fps, SPEECH_RATE), 0
    levels = []
    for block in sound.mono(SPEECH_RATE):
        levels.append(meter.push(block))
        heard += len(block)
        if heard > seconds * SPEECH_RATE:
            break
    return np.concatenate([*levels, meter.flush()])


def report_missing(missing: list[int], frames: int) -> None:
    """Warn if frames of a driving video show no face."""
    if missing:
        logger.warning(
            f"No face was found in {len(missing)} of {frames} driving frames (first: {missing[0]}); they hold the last motion."
        )
