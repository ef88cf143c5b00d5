"""The arguments of a call of the pipeline, the same for ``__call__``, ``write`` and ``stream``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from PIL import Image

from ..animation.faces import FaceChoice, check_face_choice
from ..animation.retargeting import MotionLike, Relative
from ..drivers.base import Driver
from ..drivers.combine import WhenShort
from ..drivers.following import DrivingFace, check_driving_face
from ..drivers.idle import IdleMotion
from ..drivers.mood import TextClassifier, emotion_of_text, is_classifier
from ..drivers.text import TextToSpeech
from ..drivers.video import DrivenMotion
from ..errors import MediaError, MotionError, SuperFaceError, UnknownNameError
from ..layers.background import Background
from ..media import Work, WorkLimit
from ..models.restorer.fidelity import check_fidelity
from ..models.speech_to_motion.performance import GUIDANCE, Performance
from ..motion import Motion
from ..motion.motion import FPS_RANGE
from .made_up import check_portrait

MAX_FPS = 240.0
ARTICULATION = 0.5, 1.5  # the range of ``articulation``
DIFFUSION = "diffusion"  # the value of ``idle`` that chooses the motion diffusion
DIRECTIONS = "style=, emotion=, strength= and guidance_scale="

#: What a call does: it animates a portrait, dubs a video, or makes up a portrait and animates that.
Task = Literal["animate", "dub", "make up"]

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of a call, except the picture.

    Attributes:
        video: a driving video: a path, URL or bytes; a list of pictures or an array (T, H, W, 3), at ``fps`` or 25
            frames a second; or a Motion. Its sound is carried over, unless there is speech.
        motion: a Motion, a .safetensors file of one, the name of a bundled one (nod, look_around, blink, smile, speak),
            or any :class:`~superface_hf.drivers.base.Driver`.
        audio: speech: a path, URL or bytes of a sound or video file, an array with ``sampling_rate``, or
            ``{"array", "sampling_rate"}`` (see :class:`~superface_hf.media.SoundReader`).
        sampling_rate: samples per second of an ``audio`` that does not include its rate.
        text: a text, which ``tts`` speaks.
        tts: a transformers text-to-speech pipeline, the Hub id or folder of a model for one, or a function that takes a
            text and gives ``{"audio", "sampling_rate"}``.
        edit: ARKit blendshapes to add to every frame, such as ``{"jawOpen": 0.4}``. Without a driver it gives one frame.
        regions: takes "mouth", "eyes", "brows", "gaze" or "head" from another motion; it is brought to the clip's frame
            rate, cut if it is longer, and holds its last frame if it is shorter.
        relative: how the driver's pose and expression are applied. "auto": the changes of head, eyes and brows from the
            driver's rest pose are added to the portrait's own pose, with its eyes open. The rest pose is that of the calmest
            stretch in which the driver looks most straight ahead, and is found again after every cut. Lips are taken
            absolutely, and so is the expression of a single picture.
            True adds all changes since the driver's first frame to the portrait's own; False takes the driving pose and
            expression absolutely. The portrait always keeps its position in the picture, its size and its face shape, and
            a mouth from speech is always absolute.
        articulation: how strongly the mouth speaks, from 0.5 (calm) to 1.5 (strong); lips shut at any strength. The loudness
            of the recording makes no difference.
        idle: strength of the idle motion of head, eyes and brows while only speech drives: 0 to 2, True is 1, False is 0.
            "diffusion" moves them as speaking people do, in windows of 3 s, by which live sound is delayed: see
            :class:`~superface_hf.pipelines.speech_to_motion.SpeechToMotionPipeline`.
        style: how widely the diffusion moves the face: as in a Motion of at least a second, or "calm", "usual" or "lively".
        emotion: an emotion that the diffusion adds: a name, or strengths by name, such as ``{"happiness": 0.6}``. Or, with
            ``text``, a transformers text-classification pipeline, or the Hub id or folder of a model for one, that finds the
            text's emotion.
        strength: how far the diffusion moves head and brows, 0 to 2.
        guidance_scale: how closely the diffusion follows the sound; 2 by default. Each of these four chooses the diffusion
            if ``idle`` is not given.
        when_short: what happens if a video or motion is shorter than the speech: it plays backward and forward again
            ("bounce"), its last frame is held ("hold"), or the clip ends with it ("stop").
        face: which face of the picture: "largest", "only" (an error if there are several), or an index from 0, the
            largest.
        driving_face: which face of the driving video: "largest", "only", an index from 0 (the largest in the first frame
            that shows a face), or "speaking", the one whose mouth moves most, and with the sound.
        paste_back: False gives the square around the face instead of the full picture, in the renderer's size.
        restore: gives the face of every frame detail by the pipeline's restorer: a fidelity from 0 (detail of the codebook
            alone) to 1 (closest to the frame). It takes about a second a frame on a CPU; what it draws moves with the head.
            Pixels outside the face are unchanged.
        background: the background behind the person: "transparent", "blur", a colour ("white", "#20304a", or three numbers
            from 0 to 255), a picture, or a video, which starts again at its end. By default that of the picture.
        fps: frame rate of the result; by default that of the video or motion, 25 for speech alone.
        portrait: with speech and neither picture nor video, a face is made up that suits the voice: see
            :class:`~superface_hf.pipelines.speech_to_portrait.SpeechToPortraitPipeline`. A mapping such as
            ``{"presentation": "feminine", "age": 60, "tone": 0.3}`` gives values to use instead of the voice's; False makes
            up no face.
        seed: the seed of idle motion (default 0), of a made-up face, and of a renderer's random numbers. The embedded
            teacher is deterministic.
        batch_size: frames rendered at once; a stream renders them one by one by default. On a CPU a teacher's networks run for
            some frames of a batch, and what they change is interpolated for the others; 1 lets them run for every frame,
            which takes longer.
        progress: True or False shows or hides the progress bar; by default it appears on a terminal, on long work. A
            stream has none.
        limit: the most work of the call (:class:`~superface_hf.media.WorkLimit`): pixels of one frame of the video, pixels
            of all frames, and seconds. By default 1000 gigapixels, and no limit of time.

    Raises:
        MediaError, MotionError, UnknownNameError, SuperFaceError: an argument, or a combination of them, is impossible.
    """

    video: Any = None
    motion: MotionLike | DrivenMotion | Driver | None = None
    audio: Any = None
    sampling_rate: float | None = None
    text: str | None = None
    tts: TextToSpeech | None = None
    edit: Mapping[str, float] | None = None
    regions: Mapping[str, MotionLike] | None = None
    relative: Relative = "auto"
    articulation: float = 1.0
    idle: bool | float | Literal["diffusion"] = True
    style: Motion | str | None = None
    emotion: Mapping[str, float] | TextClassifier | None = None
    strength: float = 1.0
    guidance_scale: float | None = None
    when_short: WhenShort = "bounce"
    face: FaceChoice = "largest"
    driving_face: DrivingFace = "largest"
    paste_back: bool = True
    restore: float | None = None
    background: Any = None
    fps: float | None = None
    portrait: Mapping[str, Any] | bool | None = None
    seed: int | None = None
    batch_size: int | None = None
    progress: bool | None = None
    limit: WorkLimit | None = None
    #: The work done so far, against the limit; and the background that is shown.
    work: Work = field(init=False)
    behind: Background | None = field(init=False)

    def __post_init__(self) -> None:
        self._check_drivers()
        if self.fps is not None and not FPS_RANGE[0] <= self.fps <= MAX_FPS:  # refuses NaN too
            raise MotionError(f"fps must lie above 0, from {FPS_RANGE[0]:g} to {MAX_FPS:g}, not {self.fps}.")
        if self.when_short not in get_args(WhenShort):
            raise UnknownNameError(
                f"when_short must be one of {', '.join(get_args(WhenShort))}, not {self.when_short!r}."
            )
        check_face_choice(self.face)
        check_driving_face(self.driving_face)
        if not ARTICULATION[0] <= self.articulation <= ARTICULATION[1]:  # refuses NaN too
            raise MotionError(
                f"articulation must lie between {ARTICULATION[0]:g} and {ARTICULATION[1]:g}, not {self.articulation}."
            )
        check_portrait(self.portrait)
        if self.restore is not None:
            check_fidelity(self.restore)
        self._check_accompaniment()
        if self.batch_size is not None and self.batch_size < 1:
            raise SuperFaceError(f"batch_size must be at least 1, not {self.batch_size}.")
        self._set("work", Work(self.limit))
        self._set("behind", None if self.background is None else Background(self.background))

    def _check_drivers(self) -> None:
        if self.video is not None and self.motion is not None:
            raise MotionError(
                "Pass video= or motion=, not both; regions= takes parts of the face from a second motion."
            )
        if self.audio is not None and self.text is not None:
            raise MediaError("Pass audio= or text=, not both: a face can say one thing at a time.")
        # A motion may be passed as a video too, and a picture as a video of one frame.
        if isinstance(self.video, (Motion, DrivenMotion)):
            self._set("motion", self.video)
            self._set("video", None)
        elif isinstance(self.video, Image.Image) or (isinstance(self.video, np.ndarray) and self.video.ndim == 3):
            self._set("video", [self.video])

    def _check_accompaniment(self) -> None:
        if isinstance(self.idle, str):
            if self.idle != DIFFUSION:
                raise UnknownNameError(f'idle must be True, False, 0 to 2 or "{DIFFUSION}", not {self.idle!r}.')
        else:
            IdleMotion(strength=float(self.idle))
            if self._directed and self.idle is not True:
                raise MotionError(f'{DIRECTIONS} need idle="{DIFFUSION}", not {self.idle!r}.')
        if self._directed and (not self.spoken or self.video is not None or self.motion is not None):
            raise MotionError(
                f"{DIRECTIONS} are for a face that speech alone moves: pass audio= or text=, without video= or motion=."
            )
        if is_classifier(self.emotion):
            if self.text is None:
                raise MotionError(
                    "emotion= names a text classifier, which needs text=. For audio, pass an emotion by name."
                )
            self._set("emotion", emotion_of_text(self.text, self.emotion))  # type: ignore[arg-type]
        _ = self.performance  # making it checks its arguments

    @property
    def _directed(self) -> bool:
        """Whether an argument is given that only the diffusion uses."""
        return any(each is not None for each in (self.style, self.emotion, self.guidance_scale)) or self.strength != 1

    @property
    def performance(self) -> Performance | None:
        """The performance of the diffusion where speech alone drives, or None for the idle driver."""
        if self.idle != DIFFUSION and not self._directed:
            return None
        guidance = GUIDANCE if self.guidance_scale is None else self.guidance_scale
        emotion: Any = self.emotion
        return Performance(guidance_scale=guidance, style=self.style, emotion=emotion, strength=self.strength)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def spoken(self) -> bool:
        """Whether there is speech."""
        return self.audio is not None or self.text is not None

    def task(self, image: Any, brings_portrait: bool) -> Task:
        """Return what the call does with its picture, or without one.

        Args:
            image: the picture, or None.
            brings_portrait: whether the renderer has a portrait of its own.

        Raises:
            MediaError: a picture is needed, or the arguments do not fit what is done.
        """
        has_portrait = image is not None or brings_portrait
        makes_up = not has_portrait and self.spoken and self.video is None and self.portrait is not False
        if isinstance(self.portrait, Mapping) and not makes_up:
            raise MediaError(
                "portrait= says what a made-up face looks like: leave the picture and the video out, and pass speech."
            )
        if has_portrait:
            return "animate"
        if makes_up:
            return "make up"
        if self.video is None or not self.spoken:
            raise MediaError(
                "A picture of the person is needed: pass its path, URL, bytes, PIL image or array. "
                "(Speech alone needs none: a face is made up, unless portrait=False. A video that is to be dubbed needs none "
                "either: pass video= and audio=.)"
            )
        if self.behind is not None:
            raise MediaError("A video that is dubbed keeps its background: background= needs a portrait.")
        if self.restore is not None:
            raise MediaError("A video that is dubbed keeps its face: restore= needs a portrait.")
        return "dub"

    @property
    def transparent(self) -> bool:
        """Whether frames have a fourth channel, alpha."""
        return self.behind is not None and self.behind.transparent


ARGUMENTS = tuple(each for each in fields(Request) if each.init)


def keyword_arguments(method: Callable[..., Result]) -> Callable[..., Result]:
    """Replace a method's last parameter ``request`` by keyword arguments, the fields of :class:`Request`.

    The signature of the result shows them. An unknown argument raises a TypeError that names the nearest one.
    """
    own = inspect.signature(method)
    names = [each.name for each in ARGUMENTS]

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Result:
        rest = {name: kwargs.pop(name) for name in [*kwargs] if name in own.parameters and name != "request"}
        for name in kwargs:
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{method.__name__}() does not know the argument {name!r}{hint}")
        return method(*args, **rest, request=Request(**kwargs))

    parameters = [each for each in own.parameters.values() if each.name != "request"]
    parameters += [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
        for each in ARGUMENTS
    ]
    call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call
