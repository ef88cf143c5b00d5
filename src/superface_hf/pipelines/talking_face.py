"""``pipeline("talking-face")``: a portrait and whatever drives it -> a clip of the full picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import Pipeline
from transformers.utils import logging

from ..animation.faces import FaceChoice, check_face_choice
from ..animation.portrait import Portrait, brings_portrait, find_portrait, stored_portrait
from ..animation.retargeting import MotionLike, Relative, Retargeter
from ..drivers.following import DrivingFace
from ..drivers.text import TextToSpeech
from ..drivers.video import DrivenMotion
from ..errors import MediaError, SuperFaceError
from ..face_model.linear import FaceModel
from ..layers.background import Background
from ..layers.portrait import PortraitLayers, as_pictures, cut_out
from ..media import Mp4Writer, Work, WorkLimit, check_transparent_path, check_video_path, transparent_writer
from ..media.sound import comes_in_chunks
from ..models.embedded import embedded_inpainter, embedded_matte, embedded_tracker, load_audio_to_lip
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from ..renderers.auto import check_renderer
from ..renderers.layered import LayeredFrames, LayeredPortrait
from ..renderers.memory import keep_freed_memory
from ..renderers.threads import in_order, on_one_thread
from ..utils.device import AUTO, choose_device
from ..utils.progress import progress_bar
from .clip import TalkingFaceClip
from .driving import Driving, Idle, Request, follow_driver, read_driver, read_dubbing
from .dubbing import Dubber, WhenShort
from .rendering import Options, Rendering, batched, seeded

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from ..models.matte.modeling_matte import SuperFaceMatteModel
    from ..models.student.modeling_student import SuperFaceStudentModel
    from ..models.teacher.modeling_teacher import SuperFaceTeacherModel
    from .speech_to_motion import SpeechToMotionPipeline

FRAMES_AT_ONCE = {"cpu": 2}  # how many frames are rendered together; others than the CPU take 8

logger = logging.get_logger(__name__)


class TalkingFacePipeline(Pipeline):
    """Animates a portrait.

    Args (beyond those of every transformers pipeline, such as ``model``, ``device`` (also "auto") and ``dtype``):
        tracker: finds faces in the portrait and the driving video; the embedded one by default.
        face_model: the linear face model; the embedded one by default.
        audio_to_lip: makes a mouth of speech: a model, or the Hub id or folder of one; the embedded one by default.
        matte, inpainter: tell the person from what is behind, and paint that; the embedded ones by default.
        speech_to_motion: the motion diffusion; the embedded one by default.
        batch_size: frames rendered at once (default: 2 on a CPU, 8 elsewhere).
    """

    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _pipeline_calls_generate = False

    def __init__(
        self,
        *args: Any,
        tracker: FaceTracker | None = None,
        face_model: FaceModel | None = None,
        audio_to_lip: SuperFaceAudioToLipModel | str | os.PathLike[str] | None = None,
        matte: SuperFaceMatteModel | None = None,
        inpainter: SuperFaceInpainterModel | None = None,
        speech_to_motion: SpeechToMotionPipeline | None = None,
        **kwargs: Any,
    ) -> None:
        if str(kwargs.get("device")).startswith((AUTO, "cuda", "mps")):
            kwargs["device"] = choose_device(str(kwargs["device"]))
        super().__init__(*args, **kwargs)
        check_renderer(self.model, self.model.config.model_type, self.model.name_or_path or "model")
        self._tracker = tracker
        self._face_model = face_model
        self._audio_to_lip = audio_to_lip
        self._matte = matte
        self._inpainter = inpainter
        self._speech_to_motion = speech_to_motion
        self.model.eval()
        if self.device.type == "cpu":
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]

    @cached_property
    def tracker(self) -> FaceTracker:
        """Loaded when a face first has to be found."""
        return self._tracker if self._tracker is not None else embedded_tracker(self.device)

    @cached_property
    def face_model(self) -> FaceModel:
        return self._face_model or FaceModel.default()

    @cached_property
    def audio_to_lip(self) -> SuperFaceAudioToLipModel:
        """Loaded when speech first has to be heard."""
        return load_audio_to_lip(self._audio_to_lip, self.device)

    @cached_property
    def matte(self) -> SuperFaceMatteModel:
        """Loaded when a person first has to be told from what is behind."""
        return self._matte if self._matte is not None else embedded_matte(self.device)

    @cached_property
    def inpainter(self) -> SuperFaceInpainterModel:
        """Loaded when the place of a person first has to be filled."""
        return self._inpainter if self._inpainter is not None else embedded_inpainter(self.device)

    @cached_property
    def speech_to_motion(self) -> SpeechToMotionPipeline:
        """Loaded when the diffusion first has to accompany speech."""
        from .speech_to_motion import SpeechToMotionPipeline

        return self._speech_to_motion or SpeechToMotionPipeline.embedded(self.device)

    @property
    def _teacher(self) -> SuperFaceTeacherModel:
        return cast("SuperFaceTeacherModel", self.model)

    def __call__(  # type: ignore[override]
        self,
        image: Any = None,
        *,
        video: Any = None,
        motion: MotionLike | DrivenMotion | None = None,
        audio: Any = None,
        sampling_rate: float | None = None,
        text: str | None = None,
        tts: TextToSpeech | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: Relative = "auto",
        articulation: float = 1.0,
        idle: Idle = True,
        when_short: WhenShort = "bounce",
        face: FaceChoice = "largest",
        driving_face: DrivingFace = "largest",
        style: Motion | str | None = None,
        emotion: Mapping[str, float] | str | None = None,
        strength: float = 1.0,
        guidance_scale: float | None = None,
        paste_back: bool = True,
        background: Any = None,
        fps: float | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
        limit: WorkLimit | None = None,
    ) -> Any:
        """Renders a clip.

        Who speaks may come from one thing and how the head moves from another: with ``audio`` or ``text`` beside ``video`` or
        ``motion``, the mouth is the speech's, and head, eyes and brows are the video's or motion's; the clip lasts as long
        as the speech. With speech alone, head, eyes and brows idle. ``video`` and speech without an ``image`` dub the video:
        each frame keeps its pixels but for the region of the mouth.

        Args:
            image: the portrait: a path, an http(s) URL, bytes, a PIL image or an array (see
                :func:`~superface_hf.media.load_picture`). A list of them gives a list of clips, a generator an iterator of
                clips, all driven by the same. None, with a video and speech: that video is dubbed.
            video: a driving video: a path, URL or bytes; a list of pictures or an array (T, H, W, 3), at ``fps`` or 25
                frames a second; or a Motion. Its sound is carried over, unless there is speech.
            motion: a Motion, a .safetensors file of one, or the name of a bundled one (nod, look_around, blink, smile, speak).
            audio: speech: a path, URL or bytes of a sound or video file, an array with ``sampling_rate``, or
                ``{"array", "sampling_rate"}`` (see :class:`~superface_hf.media.SoundReader`).
            sampling_rate: of ``audio`` that comes without one, in samples a second.
            text: what is to be said, spoken by ``tts``.
            tts: a transformers text-to-speech pipeline, the Hub id or folder of a model for one, or a function that takes a
                text and gives ``{"audio", "sampling_rate"}``.
            edit: ARKit blendshapes to add to every frame, such as ``{"jawOpen": 0.4}``. On its own it gives one frame.
            regions: takes "mouth", "eyes", "brows", "gaze" or "head" from another motion; it is brought to the clip's frame
                rate, cut if it is longer, and holds its last frame if it is shorter.
            relative: what the driver's pose and expression mean. "auto": head, eyes and brows change as the driver's do from
                their rest, the calmest stretch in which they look most straight ahead (anew after every cut), starting from
                the portrait's own, with its eyes open; lips are taken as they are, and so is the expression of a single
                picture.
                True adds all changes since the driver's first frame to the portrait's own; False takes the driving pose and
                expression as they are. Always the portrait keeps its place in the picture, its size and its own face shape,
                and a mouth from speech is taken as it is.
            articulation: how strongly the mouth speaks, from 0.5 (calm) to 1.5 (strong); lips that shut do so at any strength.
                How loud the speech was recorded makes no difference.
            idle: how strongly head, eyes and brows idle while only speech drives: 0 to 2, True is 1, False keeps them still.
                "diffusion" moves them as speaking people do (:class:`~superface_hf.pipelines.speech_to_motion.
                SpeechToMotionPipeline`), in windows of 3 s: a live sound is answered that much later.
            style, emotion, strength, guidance_scale: for the diffusion, which they choose if ``idle`` is not given. How widely
                the face moves (a Motion of at least a second, or a name: calm, usual, lively); an emotion's name or
                strengths by name (``{"happiness": 0.6}``); how far head and brows go (0 to 2); and how closely all of it
                follows the sound (1.5 by default).
            when_short: what a video or motion does that is shorter than the speech: it plays backward and forward again
                ("bounce"), its last frame stays ("hold"), or the clip ends with it ("stop").
            face: which face of the picture: "largest", "only" (an error if there are several), or an index from 0, the
                largest.
            driving_face: which face of the driving video: "largest", "only", an index from 0 (the largest in the first frame
                that shows a face), or "speaking", the one whose mouth moves most, and with the sound.
            paste_back: False gives the square around the face instead of the full picture, in the renderer's size.
            background: what stands behind the person: "transparent", "blur", a colour ("white", "#20304a", or three numbers
                from 0 to 255), a picture, or a video, which starts again at its end. By default what the picture shows.
            fps: frame rate of the result; by default that of the video or motion, 25 for speech alone.
            seed: which of the possible idle motions (default 0), and whatever is random in a renderer. The embedded teacher
                is deterministic.
            batch_size: frames rendered at once.
            progress: True or False shows or hides the progress bar; by default it appears on a terminal, on long work.
            limit: the most work that the call may be (:class:`~superface_hf.media.WorkLimit`): pixels of the video's frames,
                of all of them together, and seconds on the clock. By default videos of 1000 gigapixels, and no limit of time.

        Returns:
            A :class:`TalkingFaceClip`, or a list or iterator of them.

        Raises:
            MediaError: a picture, video or sound cannot be read, is empty, too large or too short, or ``limit`` is passed.
            NoFaceError, SeveralFacesError: see ``face``; NoFaceError also for a video without a face.
            MotionError, UnknownNameError: a motion, region, blendshape or option that does not fit.
            SuperFaceError: there is no ``tts`` for the text, or it fails.
        """
        work = Work(limit)
        request = Request(
            video, motion, audio, sampling_rate, text, tts, edit, regions, relative, idle, when_short, fps, seed, work,
            driving_face, articulation, style, emotion, strength, guidance_scale,
        )  # fmt: skip
        options = self._options(image, request, face, paste_back, background, batch_size, progress)
        if self._dubs(image):
            return self._clip(self._dubbed(request, options), options)
        driving = read_driver(request, self, progress).held()
        if isinstance(image, (list, tuple)):
            return [self._clip(self._animated(one, driving, options), options) for one in image]
        if isinstance(image, GeneratorType):
            return (self._clip(self._animated(one, driving, options), options) for one in image)
        return self._clip(self._animated(image, driving, options), options)

    def write(
        self,
        path: str | os.PathLike[str],
        image: Any = None,
        *,
        video: Any = None,
        motion: MotionLike | DrivenMotion | None = None,
        audio: Any = None,
        sampling_rate: float | None = None,
        text: str | None = None,
        tts: TextToSpeech | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: Relative = "auto",
        articulation: float = 1.0,
        idle: Idle = True,
        when_short: WhenShort = "bounce",
        face: FaceChoice = "largest",
        driving_face: DrivingFace = "largest",
        style: Motion | str | None = None,
        emotion: Mapping[str, float] | str | None = None,
        strength: float = 1.0,
        guidance_scale: float | None = None,
        paste_back: bool = True,
        background: Any = None,
        fps: float | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
        limit: WorkLimit | None = None,
    ) -> Motion:
        """As calling the pipeline and saving the clip, but frames go straight into the mp4: memory does not grow with length.

        Sound is read in pieces as well, once to be heard and once for the file. Args are those of :meth:`__call__`, for one
        picture. A transparent clip goes into a .webm or .mov file, or a folder of PNG pictures. Returns the motion that was
        rendered.
        """
        work = Work(limit)
        request = Request(
            video, motion, audio, sampling_rate, text, tts, edit, regions, relative, idle, when_short, fps, seed, work,
            driving_face, articulation, style, emotion, strength, guidance_scale,
        )  # fmt: skip
        options = self._options(image, request, face, paste_back, background, batch_size, progress)
        transparent = options.background is not None and options.background.transparent
        (check_transparent_path if transparent else check_video_path)(path)
        rendering = (
            self._dubbed(request, options)
            if self._dubs(image)
            else self._animated(image, lambda: read_driver(request, self, progress), options)
        )
        sound = rendering.sound
        with (
            (transparent_writer if transparent else Mp4Writer)(
                path, rendering.fps, sound, sound.rate if sound else None
            ) as writer,
            progress_bar("Rendering", rendering.total, progress) as bar,
        ):
            for frame in bar.over(rendering.frames):
                writer.add(frame)
        return Motion.concatenate(rendering.motions)

    def stream(
        self,
        image: Any = None,
        *,
        video: Any = None,
        motion: MotionLike | DrivenMotion | None = None,
        audio: Any = None,
        sampling_rate: float | None = None,
        text: str | None = None,
        tts: TextToSpeech | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: Relative = "auto",
        articulation: float = 1.0,
        idle: Idle = True,
        when_short: WhenShort = "bounce",
        face: FaceChoice = "largest",
        driving_face: DrivingFace = "largest",
        style: Motion | str | None = None,
        emotion: Mapping[str, float] | str | None = None,
        strength: float = 1.0,
        guidance_scale: float | None = None,
        paste_back: bool = True,
        background: Any = None,
        fps: float | None = None,
        seed: int | None = None,
        limit: WorkLimit | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields frames (H, W, 3) uint8 one by one, the first one early, in constant memory; transparent ones (H, W, 4).

        A driving video is tracked while it is read, so its motion is smoothed by looking back only, the person's shape
        comes from the first face, and their rest is estimated on the way (``driving_face="speaking"`` watches 2 seconds
        first): frames differ slightly from those of :meth:`__call__`. For a Motion or speech they are the
        same. Args are those of :meth:`__call__`, for one picture; ``video`` may also be a generator of frames (H, W, 3)
        uint8, and ``audio`` a generator of chunks of samples at ``sampling_rate``, of any length.

        Such a generator may wait for a microphone or a socket. It is asked for the next chunk when all frames that are known
        have been taken, and each frame comes as soon as the sound up to 0.2 s after it is there. All that takes long is done
        before this returns, so it is the first chunk that should come then. Where rendering is slower than the sound, frames
        fall behind it: a student keeps up on two cores of a CPU, a teacher needs a GPU.
        """
        work = Work(limit)
        request = Request(
            video, motion, audio, sampling_rate, text, tts, edit, regions, relative, idle, when_short, fps, seed, work,
            driving_face, articulation, style, emotion, strength, guidance_scale,
        )  # fmt: skip
        options = self._options(image, request, face, paste_back, background, 1, progress=False)
        options = replace(options, streaming=True, live=comes_in_chunks(audio) or isinstance(video, GeneratorType))
        if self._dubs(image):
            return self._dubbed(request, options).frames
        return self._animated(image, lambda: follow_driver(request, self), options).frames

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Saves the model; ``pipeline("talking-face", model=folder)`` loads it where this package is installed.

        The package's code is not copied beside the weights, as transformers would do: it does not fit into one folder.
        """
        self.model.save_pretrained(save_directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Pushes the model, as its own ``push_to_hub`` does."""
        return self._teacher.push_to_hub(repo_id, **kwargs)

    # The three steps of a transformers pipeline, for those who build on it.

    def preprocess(self, input_: Any, face: FaceChoice = "largest") -> Portrait:  # type: ignore[override]
        """Finds the portrait in a picture; a student brings its own."""
        if brings_portrait(self.model, input_):
            return stored_portrait(cast("SuperFaceStudentModel", self.model), self.face_model)
        with torch.inference_mode():
            return find_portrait(input_, self.tracker, self.face_model, face, self.model.config.image_size)

    def _forward(self, input_tensors: Mapping[str, Any], **_: Any) -> LayeredFrames:  # type: ignore[override]
        """``portrait`` (what :meth:`ready` gave) and ``landmarks`` (B, 478, 3) -> what the renderer made of them."""
        landmarks = input_tensors["landmarks"].to(self.device)
        with torch.inference_mode(), self._precision():
            return input_tensors["portrait"].render(self.model, landmarks)

    def postprocess(  # type: ignore[override]
        self, model_outputs: LayeredFrames, portrait: LayeredPortrait
    ) -> list[np.ndarray]:
        """-> full pictures (H, W, 3) uint8."""
        return portrait.compose(model_outputs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise TypeError(f"The talking-face pipeline does not know the argument {next(iter(kwargs))!r}.")
        return {}, {}, {}

    def _options(
        self,
        image: Any,
        request: Request,
        face: FaceChoice,
        paste_back: bool,
        background: Any,
        batch_size: int | None,
        progress: bool | None,
    ) -> Options:
        if self._dubs(image) and not (request.video is not None and request.spoken):
            raise MediaError(
                "A picture of the person is needed: pass its path, URL, bytes, PIL image or array. "
                "(Only a video that is to be dubbed needs none: pass video= and audio=.)"
            )
        check_face_choice(face)
        size = batch_size or self._batch_size or FRAMES_AT_ONCE.get(self.device.type, 8)
        if size < 1:
            raise SuperFaceError(f"batch_size must be at least 1, not {size}.")
        if background is not None and self._dubs(image):
            raise MediaError("A video that is dubbed keeps its background: background= needs a portrait.")
        behind = None if background is None else Background(background)
        return Options(face, paste_back, size, progress, request.seed, request.work, behind)

    def _dubs(self, image: Any) -> bool:
        return image is None and not brings_portrait(self.model, image)

    def _animated(self, image: Any, driving: Driving | Callable[[], Driving], options: Options) -> Rendering:
        """``driving`` may be a function, called once the picture is known to show a face."""
        portrait = self.preprocess(image, options.face)
        driving = driving if isinstance(driving, Driving) else driving()
        motions = options.record()
        retarget = Retargeter(portrait, driving.changes, self.face_model)

        def landmarks() -> Iterator[Tensor]:
            for piece in driving.pieces:
                motion, points = retarget(piece.motion, piece.mouth, piece.rest)
                motions.append(motion)
                yield points

        frames = options.work.timed(self._render(portrait, landmarks(), driving.fps, options))
        return Rendering(driving.fps, frames, motions, list(driving.missing), driving.frames, driving.sound)

    def _dubbed(self, request: Request, options: Options) -> Rendering:
        dubbing = read_dubbing(request, self)
        dubber = Dubber(
            self._teacher, self.tracker, self.face_model,
            matte=self.matte, face=options.face, batch_size=options.batch_size,
        )  # fmt: skip
        motions = options.record()
        missing: list[int] = []

        def pictures() -> Iterator[np.ndarray]:
            unseen = index = 0
            for index, dubbed in enumerate(dubber.frames(dubbing.video, dubbing.mouth, request.when_short)):
                if dubbed.motion is None:
                    missing.append(index)
                    unseen += 1
                else:
                    held = motions[-1] if motions else dubbed.motion
                    motions.extend([*[held] * unseen, dubbed.motion])
                    unseen = 0
                yield dubbed.picture
            motions.extend([motions[-1]] * unseen if motions else [])
            if missing:
                logger.warning(
                    f"No face was found in {len(missing)} of {index + 1} frames (first: {missing[0]}); "
                    "they are left as they were."
                )

        fps = dubbing.video.fps
        return Rendering(fps, request.work.timed(pictures()), motions, missing, dubbing.frames, dubbing.sound)

    def _clip(self, rendering: Rendering, options: Options) -> TalkingFaceClip:
        with progress_bar("Rendering", rendering.total, options.progress) as bar:
            frames = rendering.collected(bar.over(rendering.frames))
        audio, rate = None, None
        if rendering.sound:
            sound = rendering.sound.read().fit(len(frames) / rendering.fps)
            audio, rate = sound.samples, sound.rate
        motion = Motion.concatenate(rendering.motions)
        alpha = np.ascontiguousarray(frames[..., 3]) if frames.shape[-1] == 4 else None
        frames = frames if alpha is None else np.ascontiguousarray(frames[..., :3])
        return TalkingFaceClip(frames, rendering.fps, motion, audio, rate, rendering.missing, alpha)

    def ready(self, portrait: Portrait) -> LayeredPortrait:
        """Makes what does not depend on the motion, once a portrait."""
        with torch.inference_mode(), self._precision():
            if brings_portrait(self.model, None):
                keep_freed_memory()
                return LayeredPortrait.stored(portrait, cast("SuperFaceStudentModel", self.model))
            return LayeredPortrait.of(portrait, self.layers(portrait), self._teacher)

    def layers(self, portrait: Portrait) -> PortraitLayers:
        """Takes a portrait apart: the person, and the picture behind."""
        landmarks = portrait.crop.to_pixels(portrait.landmarks)
        return PortraitLayers.make(portrait.picture, landmarks, self.matte, self.inpainter, portrait.others)

    def _render(
        self, portrait: Portrait, pieces: Iterator[Tensor], fps: float, options: Options
    ) -> Iterator[np.ndarray]:
        """Makes ready now, and renders what is asked for of ``pieces`` (n, 478, 3) of landmarks."""
        with seeded(options.seed, self.device):
            ready = self.ready(portrait)
        transparent = options.background is not None and options.background.transparent
        behind = None if options.background is None or transparent else options.background.frames(ready.plate, fps)

        def work(batch: tuple[Tensor, list[np.ndarray] | None]) -> list[np.ndarray]:
            landmarks, behind = batch
            rendered = self._forward({"portrait": ready, "landmarks": landmarks})
            frames = ready.compose(rendered, behind, transparent)
            return frames if options.paste_back else [self._square(frame, portrait) for frame in frames]

        def with_behind(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[np.ndarray] | None]]:
            for batch in batches:
                yield batch, None if behind is None else list(islice(behind, len(batch)))

        if options.live:  # the first frame takes several times as long as all others
            ready.compose(self._forward({"portrait": ready, "landmarks": torch.from_numpy(portrait.landmarks)[None]}))
        at_once = (piece.split(options.batch_size) for piece in pieces)
        groups = at_once if options.streaming else [batched(pieces, options.batch_size)]
        renderers = self._renderers

        def frames() -> Iterator[np.ndarray]:
            with seeded(options.seed, self.device):
                for batch in in_order(work, map(with_behind, groups), renderers):
                    yield from batch

        return on_one_thread(frames()) if options.streaming and renderers > 1 else frames()

    def _square(self, frame: np.ndarray, portrait: Portrait) -> np.ndarray:
        return as_pictures(cut_out(frame, portrait.crop, self.model.config.image_size))[0]

    @property
    def _renderers(self) -> int:
        """How many frames are rendered side by side. A teacher's are large enough to keep all cores busy one by one."""
        one_by_one = self.device.type != "cpu" or not brings_portrait(self.model, None)
        return 1 if one_by_one else torch.get_num_threads()

    def _precision(self) -> Any:
        """Below float32 the weights are narrow, but coordinates must not be: autocast knows which is which."""
        return torch.autocast(self.device.type, dtype=self.model.dtype, enabled=self.model.dtype != torch.float32)
