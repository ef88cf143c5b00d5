"""``pipeline("talking-face")``: animate a portrait by anything that drives it, and return a clip of the full picture."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import Pipeline

from ..animation.faces import FaceChoice
from ..animation.portrait import Portrait, find_portrait
from ..animation.retargeting import Retargeter
from ..drivers.base import Driver
from ..drivers.combine import Held
from ..errors import MediaError
from ..face_model.linear import FaceModel
from ..layers.portrait import PortraitLayers
from ..media import Mp4Writer, check_transparent_path, check_video_path, load_picture, transparent_writer
from ..media.samples import SPEECH_RATE, comes_in_chunks
from ..models.embedded import embedded_inpainter, embedded_matte, embedded_tracker, load_audio_to_lip, load_restorer
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from ..provenance.marks import MADE_UP, SOURCE_TYPE
from ..renderers.auto import renderer_of
from ..renderers.base import CropRenderer, ReadyPortrait, Renderer
from ..utils.device import AUTO, choose_device
from ..utils.progress import progress_bar
from ..utils.remembered import Remembered, key_of
from .clip import TalkingFaceClip
from .driving import changes_of, driver_of, read_dubbing
from .dubbing import Dubber
from .made_up import MadeUpPortrait, first_seconds, make_up
from .rendering import Rendering, render, render_dubbed, seeded
from .request import Request, keyword_arguments

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from ..models.matte.modeling_matte import SuperFaceMatteModel
    from ..models.restorer.modeling_restorer import CodebookRestorer
    from .speech_to_motion import SpeechToMotionPipeline
    from .speech_to_portrait import SpeechToPortraitPipeline

# Frames rendered together; on a CPU 2 of dubbed ones, and of others 16, or as many as have so many pixels: a teacher's changes
# are interpolated between frames of a batch.
FRAMES_AT_ONCE, DUBBED, CONSECUTIVE = 8, 2, 16
PIXELS_AT_ONCE = 1 << 25
# So many pictures are not searched and split into layers again when they come again.
REMEMBERED = 2


class TalkingFacePipeline(Pipeline):
    """Animates a portrait.

    Without a ``dtype`` a teacher's networks compute in bfloat16 on a CPU that has instructions for it, which cannot be seen.

    Args (beyond those of every transformers pipeline, such as ``model``, ``device`` (also "auto") and ``dtype``):
        tracker: finds faces in the portrait and the driving video; the embedded one by default.
        face_model: the linear face model; the embedded one by default.
        audio_to_lip: predicts the mouth of speech: a model, or the Hub id or folder of one; the embedded one by default.
        matte, inpainter: separate the person from the background, and paint the background; the embedded ones by default.
        speech_to_portrait: makes up a face where there is no picture; the embedded one by default.
        speech_to_motion: the motion diffusion, for ``idle="diffusion"``; the embedded one by default.
        restorer: gives rendered faces detail, for ``restore=``: a model, or the Hub id or folder of one; the embedded one by
            default.
        batch_size: frames rendered at once (default: on a CPU up to 16, and 8 elsewhere).
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
        speech_to_portrait: SpeechToPortraitPipeline | None = None,
        speech_to_motion: SpeechToMotionPipeline | None = None,
        restorer: CodebookRestorer | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if str(kwargs.get("device")).startswith((AUTO, "cuda", "mps")):
            kwargs["device"] = choose_device(str(kwargs["device"]))
        super().__init__(*args, **kwargs)
        #: Renders portraits with the model.
        self.renderer: Renderer = renderer_of(self.model)
        self._tracker = tracker
        self._face_model = face_model
        self._audio_to_lip = audio_to_lip
        self._matte = matte
        self._inpainter = inpainter
        self._speech_to_portrait = speech_to_portrait
        self._speech_to_motion = speech_to_motion
        self._restorer = restorer
        self._portraits: Remembered[Portrait] = Remembered(REMEMBERED)
        self._layers: Remembered[PortraitLayers] = Remembered(REMEMBERED)
        self.model.eval()
        if self.device.type == "cpu":
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]

    @cached_property
    def tracker(self) -> FaceTracker:
        """The tracker, loaded on first use."""
        return self._tracker if self._tracker is not None else embedded_tracker(self.device)

    @cached_property
    def face_model(self) -> FaceModel:
        return self._face_model or FaceModel.default()

    @cached_property
    def audio_to_lip(self) -> SuperFaceAudioToLipModel:
        """The audio-to-lip model, loaded on first use."""
        return load_audio_to_lip(self._audio_to_lip, self.device)

    @cached_property
    def matte(self) -> SuperFaceMatteModel:
        """The matte network, loaded on first use."""
        return self._matte if self._matte is not None else embedded_matte(self.device)

    @cached_property
    def inpainter(self) -> SuperFaceInpainterModel:
        """The inpainter, loaded on first use."""
        return self._inpainter if self._inpainter is not None else embedded_inpainter(self.device)

    @cached_property
    def restorer(self) -> CodebookRestorer:
        """The restorer, loaded on first use."""
        return load_restorer(self._restorer, self.device)

    @cached_property
    def speech_to_portrait(self) -> SpeechToPortraitPipeline:
        """The speech-to-portrait pipeline, loaded on first use."""
        from .speech_to_portrait import SpeechToPortraitPipeline

        return self._speech_to_portrait or SpeechToPortraitPipeline.embedded(self._restorer)

    @cached_property
    def speech_to_motion(self) -> SpeechToMotionPipeline:
        """The speech-to-motion pipeline, loaded on first use."""
        from .speech_to_motion import SpeechToMotionPipeline

        if self._speech_to_motion is not None:
            return self._speech_to_motion
        pipe = SpeechToMotionPipeline.embedded(self.device)
        if self._audio_to_lip is None:  # it is the same model: it hears once for both
            pipe.register_modules(audio_to_lip=self.audio_to_lip)
        return pipe

    @keyword_arguments
    def __call__(self, image: Any = None, *, request: Request) -> Any:
        """Render a clip.

        Mouth and head may have different drivers: with ``audio`` or ``text`` beside ``video`` or ``motion``, the mouth follows
        the speech, and head, eyes and brows follow the video or motion; the clip lasts as long as the speech. With speech
        alone, head, eyes and brows move idly. ``video`` and speech without an ``image`` dub the video: each frame keeps its
        pixels except for the region of the mouth.

        Args:
            image: the portrait: a path, an http(s) URL, bytes, a PIL image or an array (see
                :func:`~superface_hf.media.load_picture`). A list of them gives a list of clips, a generator an iterator of
                clips with the same driver. None with a video and speech dubs that video; None with speech alone makes up a
                face. A student needs no picture.

        All other arguments are those of :class:`~superface_hf.pipelines.request.Request`.

        Returns:
            A :class:`TalkingFaceClip`, or a list or iterator of them.

        Raises:
            MediaError: a picture, video or sound cannot be read, is empty, too large or too short, ``limit`` is exceeded, or
                a picture is needed.
            NoFaceError, SeveralFacesError: see ``face``; NoFaceError also for a video without a face.
            MotionError, UnknownNameError: a motion, region, blendshape or option that does not fit.
            SuperFaceError: there is no ``tts`` for the text, or it fails.
        """
        task = request.task(image, self.renderer.brings_portrait)
        if task == "dub":
            return self._dubbed(request).to_clip(request.progress)
        driver = Held(driver_of(request, self))

        def clip_of(picture: Any) -> TalkingFaceClip:
            return self._animated(picture, lambda: driver, request).to_clip(request.progress)

        if task == "make up":
            made_up = self._made_up(driver.sound, request)
            return replace(clip_of(made_up.picture), portrait=made_up.picture, hearing=made_up.hearing)
        if isinstance(image, (list, tuple)):
            return [clip_of(one) for one in image]
        if isinstance(image, GeneratorType):
            return (clip_of(one) for one in image)
        return clip_of(image)

    @keyword_arguments
    def write(self, path: str | os.PathLike[str], image: Any = None, *, request: Request) -> Motion:
        """Render straight into an mp4, without keeping the frames: memory does not grow with length.

        Sound is read in pieces as well, once for the motion and once for the file. The arguments are those of :meth:`__call__`,
        for one picture. A transparent clip is written to a .webm or .mov file, or to a folder of PNG pictures.

        Returns:
            The rendered motion.
        """
        task = request.task(image, self.renderer.brings_portrait)
        (check_transparent_path if request.transparent else check_video_path)(path)
        if task == "dub":
            rendering = self._dubbed(request)
        elif task == "make up":
            driver = driver_of(request, self)
            rendering = self._animated(self._made_up(driver.sound, request).picture, lambda: driver, request)
        else:
            rendering = self._animated(image, lambda: driver_of(request, self), request)
        sound = rendering.sound
        mark = MADE_UP if task == "make up" else SOURCE_TYPE
        writer_of: Any = transparent_writer if request.transparent else Mp4Writer
        with (
            writer_of(path, rendering.fps, sound, sound.rate if sound else None, source_type=mark) as writer,
            progress_bar("Rendering", rendering.total, request.progress) as bar,
        ):
            for frame in bar.over(rendering.frames):
                writer.add(frame)
        return Motion.concatenate(rendering.motions)

    @keyword_arguments
    def stream(self, image: Any = None, *, request: Request) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3) uint8 one by one, the first one early, in constant memory; transparent ones are (H, W, 4).

        A driving video is tracked while it is read: its motion is smoothed with past frames only, the person's shape comes
        from the first face, and the rest pose is estimated from the frames so far (``driving_face="speaking"`` reads 2
        seconds first). So frames differ slightly from those of :meth:`__call__`; for a Motion or speech they are the same (a
        teacher's on a CPU with ``batch_size=1``).
        The arguments are those of :meth:`__call__`, for one picture; ``video`` may also be a generator of frames (H, W, 3)
        uint8, and ``audio`` a generator of chunks of samples at ``sampling_rate``, of any length.

        Such a generator may wait for a microphone or a socket. Its next chunk is requested when all known frames have been
        consumed, and each frame comes as soon as the sound up to 0.2 s after it has come. All slow preparation is done before
        this method returns; start the sound then. If rendering is slower than the sound, frames fall behind: a student keeps
        up on two cores of a CPU, a teacher needs a GPU.
        """
        task = request.task(image, self.renderer.brings_portrait)
        if task == "dub":
            return self._dubbed(request, streaming=True).frames
        if task == "make up":
            heard: Any = request.audio
            if comes_in_chunks(heard):
                heard, chunks = first_seconds(heard, request.sampling_rate or SPEECH_RATE)
                request = replace(request, audio=chunks)
            image = self._made_up(heard, request).picture
        return self._animated(image, lambda: driver_of(request, self, live=True), request, streaming=True).frames

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model; ``pipeline("talking-face", model=folder)`` loads it where this package is installed.

        The package's code is not copied beside the weights, as transformers would do, because it needs several folders.
        """
        self.model.save_pretrained(save_directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Push the model, as its own ``push_to_hub`` does."""
        model: Any = self.model
        return model.push_to_hub(repo_id, **kwargs)

    # The three steps of a transformers pipeline.

    def preprocess(self, input_: Any, face: FaceChoice = "largest") -> Portrait:  # type: ignore[override]
        """Find the portrait in a picture; a student stores its own."""
        own = self.renderer.own_portrait(input_, self.face_model)
        if own is not None:
            return own
        picture = load_picture(input_)

        def found() -> Portrait:
            with torch.inference_mode():
                # A copy, because the caller may change the array while the portrait is remembered.
                return find_portrait(picture.copy(), self.tracker, self.face_model, face, self.renderer.image_size)

        return self._portraits.get((key_of(picture), repr(face)), found)

    def _forward(self, input_tensors: Mapping[str, Any], **_: Any) -> list[np.ndarray]:  # type: ignore[override]
        """Render ``landmarks`` (B, 478, 3) of ``portrait`` (the result of :meth:`ready`) to full pictures (H, W, 3) uint8."""
        return input_tensors["portrait"].frames(input_tensors["landmarks"])

    def postprocess(self, model_outputs: list[np.ndarray]) -> list[np.ndarray]:  # type: ignore[override]
        """Return the frames unchanged."""
        return model_outputs

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise TypeError(f"The talking-face pipeline does not know the argument {next(iter(kwargs))!r}.")
        return {}, {}, {}

    def ready(self, portrait: Portrait) -> ReadyPortrait:
        """Prepare a portrait once: compute everything that does not depend on the motion."""
        return self.renderer.prepare(portrait, lambda: self.layers(portrait))

    def layers(self, portrait: Portrait) -> PortraitLayers:
        """Split a portrait into its layers."""

        def split() -> PortraitLayers:
            landmarks = portrait.crop.to_pixels(portrait.landmarks)
            with torch.inference_mode():
                return PortraitLayers.make(portrait.picture, landmarks, self.matte, self.inpainter, portrait.others)

        return self._layers.get(portrait, split)

    def _made_up(self, sound: Any, request: Request) -> MadeUpPortrait:
        return make_up(self.speech_to_portrait, sound, request.sampling_rate, request.portrait, request.seed)

    def _at_once(self, request: Request, streaming: bool, on_cpu: int) -> int:
        usual = self._batch_size or (on_cpu if self.device.type == "cpu" else FRAMES_AT_ONCE)
        return request.batch_size or (1 if streaming else usual)

    def _animated(
        self, image: Any, driver_for: Callable[[], Driver], request: Request, streaming: bool = False
    ) -> Rendering:
        """Start the rendering of a portrait. The driver is made only after the picture is known to show a face."""
        portrait = self.preprocess(image, request.face)
        driver = driver_for()
        # A stream that lasts for hours must not keep all of its motions.
        motions: Any = deque(maxlen=1) if streaming else []
        retarget = Retargeter(portrait, changes_of(request, driver.fps), self.face_model)

        def landmarks() -> Iterator[Tensor]:
            for piece in driver.pieces():
                motion, points = retarget(piece.motion, piece.mouth, piece.rest)
                motions.append(motion)
                yield points

        with seeded(request.seed, self.device):
            ready = self.ready(portrait)
        live = streaming and (comes_in_chunks(request.audio) or isinstance(request.video, GeneratorType))
        if live:  # the first frame takes several times as long as all others
            ready.frames(torch.from_numpy(portrait.landmarks)[None])
        fitting = min(CONSECUTIVE, max(1, 3 * PIXELS_AT_ONCE // portrait.picture.size))
        size = self._at_once(request, streaming, fitting)
        restorer = None if request.restore is None else self.restorer
        frames = render(self.renderer, ready, landmarks(), driver.fps, request, size, self.device, streaming, restorer)
        missing = list(driver.missing)
        return Rendering(driver.fps, request.work.timed(frames), motions, missing, driver.frames, driver.sound)

    def _dubbed(self, request: Request, streaming: bool = False) -> Rendering:
        if not isinstance(self.renderer, CropRenderer):
            raise MediaError("This model cannot dub a video: pass a picture of the person.")
        dubbing = read_dubbing(request, self)
        size = self._at_once(request, streaming, DUBBED)
        dubber = Dubber(
            self.renderer, self.tracker, self.face_model, matte=self.matte, face=request.face, batch_size=size
        )
        return render_dubbed(dubber, dubbing, request, streaming)
