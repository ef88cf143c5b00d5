"""Make the driver that a request asks for: video, motion, sound, text, or a combination of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..animation.retargeting import Changes, as_motion
from ..drivers.base import Driver
from ..drivers.combine import WithMouth
from ..drivers.diffusion import Diffusion
from ..drivers.idle import IdleMotion
from ..drivers.recorded import RecordedDriver, StillDriver
from ..drivers.speech import SpeechDriver
from ..drivers.text import text_to_sound
from ..drivers.video import DrivenMotion
from ..drivers.watching import FollowedVideo, TrackedDriver, watch_video
from ..errors import MotionError
from ..face_model.linear import FaceModel
from ..media import SoundReader, VideoReader
from ..media.samples import comes_in_chunks
from ..media.video import DEFAULT_FPS
from ..models.tracker.base import FaceTracker
from ..utils.progress import progress_bar
from .request import Request

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .speech_to_motion import SpeechToMotionPipeline

# The duration that a file states may be slightly wrong; so many more seconds of a video are tracked.
SPARE = 0.5


class Models(Protocol):
    """The models that drivers need. The pipeline has them, and loads each on first use."""

    device: Any

    @property
    def tracker(self) -> FaceTracker: ...
    @property
    def face_model(self) -> FaceModel: ...
    @property
    def audio_to_lip(self) -> SuperFaceAudioToLipModel: ...
    @property
    def speech_to_motion(self) -> SpeechToMotionPipeline: ...


def driver_of(request: Request, models: Models, live: bool = False) -> Driver:
    """Make the driver that a request asks for.

    Args:
        request: the arguments of the call.
        models: the models that drivers need.
        live: whether to track a driving video as it comes; otherwise it is tracked as a whole before this returns. Speech
            is processed while the pieces are iterated, in either case.

    Raises:
        MediaError, NoFaceError, MotionError, UnknownNameError, SuperFaceError: see :meth:`TalkingFacePipeline.__call__`.
    """
    sound = hear(request, models, live) if request.spoken else None
    head = _head(request, models, live, sound)
    if sound is None and head is None:
        return _still(request)
    fps = head.fps if head else request.fps or DEFAULT_FPS
    changes_of(request, fps)  # raises errors before the speech is processed
    if sound is None:
        assert head is not None
        return head
    if head is None:
        return _alone(request, sound, fps, models)
    return WithMouth(head, _speech(request, sound, head.fps, models, None), request.when_short)


def changes_of(request: Request, fps: float) -> Changes:
    """Return the changes to a driver's motion that a request asks for. Raises MotionError or UnknownNameError."""
    return Changes.checked(request.relative, request.edit, request.regions, fps)


def hear(request: Request, models: Models, live: bool) -> SoundReader | GeneratorType:
    """Return the sound to speak, from ``audio`` or ``text``; in live use, chunks are returned as they are.

    Raises:
        MediaError: the sound cannot be read, or comes in chunks and the use is not live.
        SuperFaceError: see :func:`~superface_hf.drivers.text.text_to_sound`.
    """
    if request.text is not None:
        return SoundReader(text_to_sound(request.text, request.tts, models.device))
    if isinstance(request.audio, SoundReader) or (live and comes_in_chunks(request.audio)):
        return request.audio
    return SoundReader(request.audio, request.sampling_rate)


@dataclass(frozen=True, eq=False)
class Dubbing:
    """A video, and the mouth to show in it.

    Attributes:
        video: the video.
        mouth: the mouth coefficients (M,) of each frame at the video's rate; can be iterated once.
        frames: the approximate number of frames, or None if it is unknown.
        sound: the sound, or None where it comes in chunks.
    """

    video: VideoReader
    mouth: Iterator[np.ndarray]
    frames: int | None
    sound: SoundReader | None


def read_dubbing(request: Request, models: Models) -> Dubbing:
    """Read the video and the speech of a request. Raises MediaError, or MotionError for options that dubbing does not
    have."""
    if request.edit or request.regions:
        raise MotionError("A video that is dubbed keeps all but its mouth: edit= and regions= need a portrait.")
    video = VideoReader(request.video, request.fps, request.work)
    if request.fps not in (None, video.fps):
        raise MotionError(f"A video that is dubbed keeps its frame rate of {video.fps:g}: leave out fps=.")
    speech = _speech(request, hear(request, models, live=True), video.fps, models, None)
    frames = None
    if speech.sound is not None:
        frames = max(round((speech.sound.seconds or 0) * video.fps), video.frame_count or 0) or None
    if request.when_short == "stop":
        frames = video.frame_count
    return Dubbing(video, (row for motion in speech.motions() for row in motion.mouth), frames, speech.sound)


def _alone(request: Request, sound: SoundReader | GeneratorType, fps: float, models: Models) -> SpeechDriver:
    """Return the driver of speech without a video or motion: the idle driver or the diffusion moves the rest of the face."""
    if request.performance is None:
        return _speech(request, sound, fps, models, IdleMotion(request.seed or 0, float(request.idle)))
    diffusion = Diffusion(models.speech_to_motion, request.performance, request.seed or 0)
    return _speech(request, sound, fps, models, None, diffusion)


def _speech(
    request: Request,
    sound: SoundReader | GeneratorType,
    fps: float,
    models: Models,
    idle: IdleMotion | None,
    diffusion: Diffusion | None = None,
) -> SpeechDriver:
    return SpeechDriver(
        sound, fps, models.audio_to_lip, models.face_model,
        idle=idle, diffusion=diffusion, articulation=request.articulation, sampling_rate=request.sampling_rate,
    )  # fmt: skip


def _head(request: Request, models: Models, live: bool, sound: SoundReader | GeneratorType | None) -> Driver | None:
    """Return the driver of head, eyes and brows, and of the mouth where there is no speech."""
    if request.video is not None:
        return _followed(request, models) if live else _watched(request, models, sound)
    if request.motion is None:
        return None
    if isinstance(request.motion, DrivenMotion):
        return TrackedDriver(request.motion, request.fps)
    if isinstance(request.motion, Driver):
        if request.fps not in (None, request.motion.fps):
            raise MotionError(f"The driver gives {request.motion.fps:g} frames a second: leave out fps=.")
        return request.motion
    return RecordedDriver(request.motion, request.fps)


def _watched(request: Request, models: Models, sound: SoundReader | GeneratorType | None) -> TrackedDriver:
    """Track a video as a whole, or up to the length of the sound."""
    reader = VideoReader(request.video, request.fps, request.work)
    changes_of(request, request.fps or reader.fps)  # raises errors before the video is tracked
    seconds = sound.seconds if isinstance(sound, SoundReader) else None
    needed = ceil((seconds + SPARE) * reader.fps) if seconds else None
    with progress_bar("Tracking", needed or reader.frame_count, request.progress) as bar:
        frames = bar.over(islice(reader, needed))
        driven = watch_video(reader, models.tracker, models.face_model, request.driving_face, frames)
    return TrackedDriver(driven, request.fps, reader.sound_reader())


def _followed(request: Request, models: Models) -> FollowedVideo:
    video = request.video
    if not isinstance(video, GeneratorType):
        video = VideoReader(video, request.fps, request.work)
    return FollowedVideo(video, models.tracker, models.face_model, request.driving_face, request.fps)


def _still(request: Request) -> StillDriver:
    if not request.edit and not request.regions:
        raise MotionError(
            "There is nothing to drive the portrait with: pass audio=, text=, video=, motion=, edit= or regions=."
        )
    others = [as_motion(other) for other in (request.regions or {}).values()]
    fps = request.fps or (others[0].fps if others else DEFAULT_FPS)
    regions = changes_of(request, fps).regions
    return StillDriver(max((len(other) for other in regions.values()), default=1), fps)
