"""What drives a portrait: video, motion, sound, text and their combinations -> pieces of motion, as long as there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from math import ceil
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from ..animation.mouth_swap import shut_mouth
from ..animation.rest import Rest, RunningRest, calmest
from ..animation.retargeting import Changes, MotionLike, Relative, as_motion, resampled, rest_of
from ..drivers.audio import Loudness, follow_speech, speech_to_motion
from ..drivers.diffusion import follow_changes, perform_speech, performed
from ..drivers.following import WATCHED, DrivingFace, SpeechHeard, check_driving_face
from ..drivers.idle import IdleMotion
from ..drivers.loudness import speech_level
from ..drivers.text import TextToSpeech, text_to_sound
from ..drivers.video import DrivenMotion, follow_motion, video_to_motion
from ..errors import MediaError, MotionError, UnknownNameError
from ..face_model.linear import FaceModel
from ..media import SoundReader, VideoReader, Work, mono_blocks
from ..media.sound import SPEECH_RATE, comes_in_chunks
from ..media.video import DEFAULT_FPS
from ..models.speech_to_motion.performance import GUIDANCE, Performance
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from ..motion.motion import FPS_RANGE
from ..utils.progress import progress_bar
from .dubbing import WhenShort

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .speech_to_motion import SpeechToMotionPipeline

logger = logging.get_logger(__name__)

PIECE = 64  # frames of a known motion that are retargeted at once
# A file's own word on how long it lasts may be wrong by a little.
SPARE = 0.5  # seconds
# So much of a video that streams is watched before its speaker is known.
WATCHED_LIVE = 2.0  # seconds
# What accompanies speech: the idle driver (how strongly), or the motion diffusion.
DIFFUSION = "diffusion"
Idle = bool | float | Literal["diffusion"]
# How far speech may be calmed and strengthened.
ARTICULATION = 0.5, 1.5


class Models(Protocol):
    """What drivers need; the pipeline has it, and loads each on first use."""

    device: Any

    @property
    def tracker(self) -> FaceTracker: ...
    @property
    def face_model(self) -> FaceModel: ...
    @property
    def audio_to_lip(self) -> SuperFaceAudioToLipModel: ...
    @property
    def speech_to_motion(self) -> SpeechToMotionPipeline: ...


@dataclass(frozen=True, eq=False)
class Request:
    """What a call asks for besides pictures; see :meth:`TalkingFacePipeline.__call__`."""

    video: Any = None
    motion: MotionLike | DrivenMotion | None = None
    audio: Any = None
    sampling_rate: float | None = None
    text: str | None = None
    tts: TextToSpeech | None = None
    edit: Mapping[str, float] | None = None
    regions: Mapping[str, MotionLike] | None = None
    relative: Relative = "auto"
    idle: Idle = True
    when_short: WhenShort = "bounce"
    fps: float | None = None
    seed: int | None = None
    work: Work = field(default_factory=Work)
    driving_face: DrivingFace = "largest"
    articulation: float = 1.0
    style: Motion | str | None = None
    emotion: Mapping[str, float] | str | None = None
    strength: float = 1.0
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if self.video is not None and self.motion is not None:
            raise MotionError(
                "Pass video= or motion=, not both; regions= takes parts of the face from a second motion."
            )
        if self.audio is not None and self.text is not None:
            raise MediaError("Pass audio= or text=, not both: a face can say one thing at a time.")
        if self.fps is not None and not FPS_RANGE[0] <= self.fps <= 240:  # NaN is not
            raise MotionError(f"fps must lie above 0, from {FPS_RANGE[0]:g} to 240, not {self.fps}.")
        if self.when_short not in get_args(WhenShort):
            raise UnknownNameError(
                f"when_short must be one of {', '.join(get_args(WhenShort))}, not {self.when_short!r}."
            )
        check_driving_face(self.driving_face)
        if not ARTICULATION[0] <= self.articulation <= ARTICULATION[1]:  # NaN is not
            raise MotionError(
                f"articulation must lie between {ARTICULATION[0]:g} and {ARTICULATION[1]:g}, not {self.articulation}."
            )
        self._check_accompaniment()

    def _check_accompaniment(self) -> None:
        if isinstance(self.idle, str) and self.idle != DIFFUSION:
            raise UnknownNameError(
                f'idle must be True, False, a strength from 0 to 2, or "{DIFFUSION}", not {self.idle!r}.'
            )
        if not isinstance(self.idle, str):
            IdleMotion(strength=float(self.idle))
        if not self._directed:
            return
        if not self.spoken or self.driven:
            raise MotionError(
                "style=, emotion=, strength= and guidance_scale= are for a face that speech alone moves: pass audio= or text=, "
                "without video= or motion=."
            )
        if self.idle is not True and self.idle != DIFFUSION:
            raise MotionError(
                f'style=, emotion=, strength= and guidance_scale= need idle="{DIFFUSION}", not {self.idle!r}.'
            )
        _ = self.performance

    @property
    def _directed(self) -> bool:
        """Whether anything is asked for that only the diffusion can do."""
        return any(asked is not None for asked in (self.style, self.emotion, self.guidance_scale)) or self.strength != 1

    @property
    def performance(self) -> Performance | None:
        """What the diffusion is to do where speech alone drives; None where the idle driver does."""
        if self.idle != DIFFUSION and not self._directed:
            return None
        guidance = GUIDANCE if self.guidance_scale is None else self.guidance_scale
        return Performance(guidance_scale=guidance, style=self.style, emotion=self.emotion, strength=self.strength)

    @property
    def spoken(self) -> bool:
        return self.audio is not None or self.text is not None

    @property
    def driven(self) -> bool:
        """Whether head and eyes come from somebody else."""
        return self.video is not None or self.motion is not None


@dataclass(frozen=True, eq=False)
class Piece:
    """Some frames of driving motion; ``motion`` None is one frame in which the driving person has not been seen yet.

    ``mouth`` (T, M) is what speech says, absolute; None leaves the mouth to ``motion``. ``rest`` is what its changes are
    measured from; None is the first frame of all.
    """

    motion: Motion | None
    mouth: np.ndarray | None = None
    rest: Rest | None = None

    def __len__(self) -> int:
        return 1 if self.motion is None else len(self.motion)


@dataclass(frozen=True, eq=False)
class Driving:
    """A driver at the clip's frame rate.

    Attributes:
        pieces: what it does, once through.
        frames: about how many frames that is, where it is known.
        sound: goes with the clip.
        missing: driving frames without a face, where the video has been looked at already.
    """

    fps: float
    changes: Changes
    pieces: Iterable[Piece]
    frames: int | None = None
    sound: SoundReader | None = None
    missing: list[int] = field(default_factory=list)

    def held(self) -> Driving:
        """The same, to be gone through more than once."""
        pieces = list(self.pieces)
        return replace(self, pieces=pieces, frames=sum(map(len, pieces)))


@dataclass(frozen=True, eq=False)
class _Head:
    """Where head, eyes and brows come from (and the mouth, where nobody speaks)."""

    fps: float
    pieces: Iterable[Piece]
    frames: int | None = None
    sound: SoundReader | None = None
    missing: list[int] = field(default_factory=list)


def read_driver(request: Request, models: Models, progress: bool | None = None) -> Driving:
    """Looks at the whole driving video before anything else; speech is heard while the pieces are taken.

    Raises:
        MediaError, NoFaceError, MotionError, UnknownNameError, SuperFaceError: see :meth:`TalkingFacePipeline.__call__`.
    """
    request = _with_motion(request)
    sound = hear(request, models) if request.spoken else None
    head = _watched(request, models, progress, sound) if request.video is not None else _moved(request)
    return _combined(request, models, head, sound)


def follow_driver(request: Request, models: Models) -> Driving:
    """Takes a driving video, and a sound that comes in chunks, as they come. Errors as of :func:`read_driver`."""
    request = _with_motion(request)
    sound = hear(request, models) if request.spoken and not comes_in_chunks(request.audio) else None
    head = _followed(request, models) if request.video is not None else _moved(request)
    return _combined(request, models, head, sound)


def hear(request: Request, models: Models) -> SoundReader:
    """The sound that is to be spoken, from ``audio`` or ``text``."""
    if request.text is not None:
        return SoundReader(text_to_sound(request.text, request.tts, models.device))
    return (
        request.audio if isinstance(request.audio, SoundReader) else SoundReader(request.audio, request.sampling_rate)
    )


@dataclass(frozen=True, eq=False)
class Dubbing:
    """A video and what is to be said in it.

    Attributes:
        mouth: the coefficients (M,) of each frame at the video's rate, once through.
        frames: about how many frames there will be, where it is known.
        sound: None where it comes in chunks.
    """

    video: VideoReader
    mouth: Iterator[np.ndarray]
    frames: int | None
    sound: SoundReader | None


def read_dubbing(request: Request, models: Models) -> Dubbing:
    """Raises MediaError, and MotionError where something is asked for that dubbing cannot do."""
    if request.edit or request.regions:
        raise MotionError("A video that is dubbed keeps all but its mouth: edit= and regions= need a portrait.")
    video = VideoReader(request.video, request.fps, request.work)
    if request.fps not in (None, video.fps):
        raise MotionError(f"A video that is dubbed keeps its frame rate of {video.fps:g}: leave out fps=.")
    if comes_in_chunks(request.audio):
        sound, frames = None, None
        speech = _spoken_chunks(request, video.fps, models, None)
    else:
        sound = hear(request, models)
        frames = max(round((sound.seconds or 0) * video.fps), video.frame_count or 0) or None
        speech = _spoken(request, sound, video.fps, models, None)
    if request.when_short == "stop":
        frames = video.frame_count
    return Dubbing(video, (row for motion in speech for row in motion.mouth), frames, sound)


def _with_motion(request: Request) -> Request:
    """A Motion may be passed as ``video`` too, and a picture as a video of one frame."""
    video = request.video
    if isinstance(video, (Motion, DrivenMotion)):
        return replace(request, video=None, motion=video)
    if isinstance(video, Image.Image) or (isinstance(video, np.ndarray) and video.ndim == 3):
        return replace(request, video=[video])
    return request


def _moved(request: Request) -> _Head | None:
    if request.motion is None:
        return None
    if isinstance(request.motion, DrivenMotion):
        return _tracked(request.motion, request.fps, None)
    motion = as_motion(request.motion)
    rest = rest_of(motion)
    motion = motion if request.fps in (None, motion.fps) else motion.resample(request.fps or motion.fps)
    return _Head(motion.fps, (Piece(part, rest=rest) for part in _pieces(motion)), len(motion))


def _tracked(driven: DrivenMotion, fps: float | None, sound: SoundReader | None) -> _Head:
    """Shot by shot, each with a rest of its own."""
    own, fps = driven.motion, fps or driven.motion.fps
    starts = np.array(driven.shots)
    position = np.minimum(np.arange(max(1, round(len(own) * fps / own.fps))) * (own.fps / fps), len(own) - 1)
    before = position.astype(int)
    after = np.minimum(before + 1, len(own) - 1)
    shot = np.searchsorted(starts, before, side="right") - 1
    motion = own if fps == own.fps else own.resample(fps)
    between = (position > before) & (shot != np.searchsorted(starts, after, side="right") - 1)
    if between.any():  # nothing lies between two shots
        held = [
            replace(own[int(start)], fps=fps) if cut else motion[index]
            for index, (start, cut) in enumerate(zip(before, between, strict=True))
        ]
        motion = Motion.concatenate(held)
    ends = [*driven.shots[1:], len(own)]
    rests = [
        Rest(calmest(own[start:stop]), still=len(own) == 1) for start, stop in zip(driven.shots, ends, strict=True)
    ]

    def pieces() -> Iterator[Piece]:
        for number, rest in enumerate(rests):
            inside = np.flatnonzero(shot == number)
            if len(inside):
                for part in _pieces(motion[int(inside[0]) : int(inside[-1]) + 1]):
                    yield Piece(part, rest=rest)

    return _Head(fps, pieces(), len(motion), sound, driven.missing)


def _combined(request: Request, models: Models, head: _Head | None, sound: SoundReader | None) -> Driving:
    if request.spoken:
        return _speaking(request, models, head, sound)
    if head is None:
        return _still(request)
    changes = Changes.checked(request.relative, request.edit, request.regions, head.fps)
    return Driving(head.fps, changes, head.pieces, head.frames, head.sound, head.missing)


def _still(request: Request) -> Driving:
    if not request.edit and not request.regions:
        raise MotionError(
            "There is nothing to drive the portrait with: pass audio=, text=, video=, motion=, edit= or regions=."
        )
    others = [as_motion(other) for other in (request.regions or {}).values()]
    fps = request.fps or (others[0].fps if others else DEFAULT_FPS)
    changes = Changes.checked(request.relative, request.edit, request.regions, fps)
    frames = max((len(other) for other in changes.regions.values()), default=1)
    return Driving(fps, changes, [Piece(None)] * frames, frames)


def _speaking(request: Request, models: Models, head: _Head | None, sound: SoundReader | None) -> Driving:
    fps = head.fps if head else request.fps or DEFAULT_FPS
    changes = Changes.checked(request.relative, request.edit, request.regions, fps)
    idle = None if head or _accompanying(request) else IdleMotion(request.seed or 0, float(request.idle))
    if sound is None:
        speech, frames = _spoken_chunks(request, fps, models, idle), None
    else:
        speech = _spoken(request, sound, fps, models, idle)
        frames = None if sound.seconds is None else max(1, round(sound.seconds * fps))
    if head is None:
        # The diffusion need not begin at rest, as the idle driver does.
        rest = Rest(Motion.neutral(1, fps), lips=False) if _accompanying(request) else None
        return Driving(fps, changes, (Piece(motion, motion.mouth, rest) for motion in speech), frames, sound)
    if request.when_short == "stop" and frames and head.frames:
        frames = min(frames, head.frames)
    pieces = _with_mouth(head.pieces, speech, request.when_short)
    return Driving(fps, changes, pieces, frames, sound, head.missing)


def _spoken(
    request: Request, sound: SoundReader, fps: float, models: Models, idle: IdleMotion | None
) -> Iterator[Motion]:
    """The sound is at hand: it is heard once for its loudness, and once for what it says."""
    model, performance = models.audio_to_lip, _accompanying(request)
    rate = model.config.sampling_rate
    level = speech_level(sound.mono(rate), rate)
    streams = model.config.audio_encoder is None
    if performance and streams:
        speech = perform_speech(
            sound.mono(rate), fps, model, models.speech_to_motion, performance, request.seed or 0, level
        )
    elif streams:
        speech = follow_speech(sound.mono(rate), fps, model, idle, level)
    else:  # a pretrained encoder hears the whole sound at once
        speech = _pieces(speech_to_motion(sound.read(), fps, model, idle, level))
        if performance:
            changes = follow_changes(sound.mono(), fps, models.speech_to_motion, performance, request.seed or 0, level)
            speech = performed(speech, changes)
    yield from _articulated(speech, request.articulation, models)


def _spoken_chunks(request: Request, fps: float, models: Models, idle: IdleMotion | None) -> Iterator[Motion]:
    if request.sampling_rate is None:
        raise MediaError("Chunks of sound need their sampling rate: pass sampling_rate=16000 (or whatever it is).")
    model = models.audio_to_lip
    blocks = mono_blocks(request.audio, request.sampling_rate, model.config.sampling_rate)
    performance = _accompanying(request)
    if performance:
        speech = perform_speech(blocks, fps, model, models.speech_to_motion, performance, request.seed or 0)
    else:
        speech = follow_speech(blocks, fps, model, idle)
    return _articulated(speech, request.articulation, models)


def _accompanying(request: Request) -> Performance | None:
    """What the diffusion is to do; None where something else moves the head."""
    return None if request.driven else request.performance


def _articulated(speech: Iterable[Motion], strength: float, models: Models) -> Iterator[Motion]:
    """Mouths go so much farther from shut lips: what is shut stays so."""
    shut = shut_mouth(models.face_model)
    for motion in speech:
        yield motion if strength == 1 else replace(motion, mouth=shut + strength * (motion.mouth - shut))


def _with_mouth(head: Iterable[Piece], speech: Iterable[Motion], when_short: WhenShort) -> Iterator[Piece]:
    """The head's frames with the speech's mouth, as long as the speech (or, with "stop", as the shorter of the two)."""
    frames = _lengthened(_singly(head), when_short)
    for spoken in speech:
        count = 0
        for count, frame in enumerate(islice(frames, len(spoken)), start=1):
            yield replace(frame, mouth=spoken.mouth[count - 1 : count])
        if count < len(spoken):
            return


def _lengthened(frames: Iterator[Piece], when_short: WhenShort) -> Iterator[Piece]:
    """Goes on after the last frame, but for "stop"."""
    seen: list[Piece] = []
    last = Piece(None)
    for last in frames:
        if when_short == "bounce":
            seen.append(last)
        yield last
    while when_short == "hold" or (when_short == "bounce" and len(seen) == 1):
        yield last
    while len(seen) > 1:
        # The frames at the turning points have just been shown.
        yield from chain(seen[-2::-1], seen[1:])


def _singly(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if piece.motion is None:
            yield piece
        else:
            yield from (replace(piece, motion=piece.motion[index]) for index in range(len(piece.motion)))


def _pieces(motion: Motion) -> Iterator[Motion]:
    return (motion[start : start + PIECE] for start in range(0, len(motion), PIECE))


def _watched(request: Request, models: Models, progress: bool | None, sound: SoundReader | None) -> _Head:
    """A video, tracked as a whole (or as far as the sound goes): smoothed without delay, the shape from all frames."""
    reader = VideoReader(request.video, request.fps, request.work)
    # What cannot work is said before the video is tracked.
    Changes.checked(request.relative, request.edit, request.regions, request.fps or reader.fps)
    needed = ceil((sound.seconds + SPARE) * reader.fps) if sound and sound.seconds else None
    levels = levels_of(reader) if request.driving_face == "speaking" else None
    with torch.inference_mode(), progress_bar("Tracking", needed or reader.frame_count, progress) as bar:
        frames = bar.over(islice(reader, needed))
        driven = video_to_motion(frames, reader.fps, models.tracker, models.face_model, request.driving_face, levels)
    _report_missing(driven.missing, len(driven.motion))
    return _tracked(driven, request.fps, reader.sound_reader())


def levels_of(reader: VideoReader, seconds: float = WATCHED) -> np.ndarray:
    """How loud each of a video's first frames is, in decibels; empty where it has no sound."""
    sound = reader.sound_reader()
    if sound is None:
        return np.zeros(0)
    meter, heard = Loudness(reader.fps, SPEECH_RATE), 0
    levels = []
    for block in sound.mono(SPEECH_RATE):
        levels.append(meter.push(block))
        heard += len(block)
        if heard > seconds * SPEECH_RATE:
            break
    return np.concatenate([*levels, meter.flush()])


def _followed(request: Request, models: Models) -> _Head:
    """A video, or a generator of its frames, tracked as it comes."""
    frames, rate, live = request.video, request.fps or DEFAULT_FPS, True
    heard = SpeechHeard(rate, seconds=WATCHED_LIVE)
    if not isinstance(frames, GeneratorType):
        frames = VideoReader(request.video, request.fps, request.work)
        rate, live = frames.fps, False
        if request.driving_face == "speaking":
            heard = SpeechHeard(rate, levels_of(frames, WATCHED_LIVE), WATCHED_LIVE)
    fps = request.fps or rate
    return _Head(fps, _Following(frames, rate, models, request.driving_face, heard, live).pieces(fps))


class _Following:
    """Frames of a video on their way to pieces: the last motion is held where no face is found.

    Args:
        frames: of the video, at the rate ``fps``.
        face, heard: whose motion it is.
        live: whether a second frame must not be waited for.
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        fps: float,
        models: Models,
        face: DrivingFace,
        heard: SpeechHeard,
        live: bool,
    ) -> None:
        self._frames, self._fps, self._models = frames, fps, models
        self._face, self._heard, self._live = face, heard, live
        self._running = RunningRest()
        self._rest: Rest | None = None
        self._cut = self._still = False

    def pieces(self, fps: float) -> Iterator[Piece]:
        for motion in resampled(self._motions(), self._fps, fps, lambda: self._cut):
            yield Piece(motion, rest=self._rest)

    def _motions(self) -> Iterator[Motion | None]:
        last: Motion | None = None
        missing: list[int] = []
        count, shot = 0, 0
        models = self._models
        with torch.inference_mode():
            seen = follow_motion(self._watched(), self._fps, models.tracker, models.face_model, self._face, self._heard)
            for count, frame in enumerate(seen, start=1):
                self._cut = frame.motion is not None and frame.shot != shot
                if frame.motion is None:
                    missing.append(count - 1)
                else:
                    last, shot = frame.motion, frame.shot
                    self._rest = replace(self._running(last, shot), still=self._still)
                yield last
        _report_missing(missing, count)

    def _watched(self) -> Iterator[np.ndarray]:
        frames = iter(self._frames)
        if not self._live:
            first = list(islice(frames, 2))
            self._still = len(first) == 1
            yield from first
        yield from frames


def _report_missing(missing: list[int], frames: int) -> None:
    if missing:
        logger.warning(
            f"No face was found in {len(missing)} of {frames} driving frames (first: {missing[0]}); they hold the last motion."
        )
