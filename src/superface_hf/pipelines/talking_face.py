"""``pipeline("talking-face")``: a portrait and a motion -> a clip, pasted back into the full picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import Pipeline
from transformers.utils import logging

from ..drivers.video import follow_motion, video_to_motion
from ..errors import MediaError, MotionError, SuperFaceError
from ..face_model.linear import FaceModel
from ..hub import embedded_tracker
from ..media import Mp4Writer, Sound, VideoReader, check_video_path
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from .clip import TalkingFaceClip
from .paste_back import PasteBack, RenderedCrops, as_pictures, cut_out
from .portrait import FaceChoice, Portrait, check_face_choice, find_portrait
from .progress import progress_bar
from .retarget import Changes, MotionLike, Retargeter, as_motion, resampled, still

if TYPE_CHECKING:
    from ..models.teacher.modeling_teacher import SuperFaceTeacherModel

logger = logging.get_logger(__name__)

DEFAULT_FPS = 25.0  # of what has no rate of its own, such as an edit of a still picture
FRAMES_AT_ONCE = {"cpu": 2}  # how many frames are rendered together; others than the CPU take 8


@dataclass(frozen=True, eq=False)
class Driving:
    """The driver, read once for all portraits of a call. ``motion`` is None where only edits or regions are asked for."""

    fps: float
    changes: Changes
    motion: Motion | None = None
    sound: Sound | None = None
    missing: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """How each picture of a call is to be rendered; see :meth:`TalkingFacePipeline.__call__`."""

    face: FaceChoice
    paste_back: bool
    batch_size: int | None
    progress: bool | None
    seed: int | None


class TalkingFacePipeline(Pipeline):
    """Animates a portrait.

    Args (beyond those of every transformers pipeline, such as ``model``, ``device`` and ``dtype``):
        tracker: finds faces in the portrait and the driving video; the embedded one by default.
        face_model: the linear face model; the embedded one by default.
        batch_size: frames rendered at once (default: 2 on a CPU, 8 elsewhere).
    """

    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _pipeline_calls_generate = False

    def __init__(
        self, *args: Any, tracker: FaceTracker | None = None, face_model: FaceModel | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tracker = tracker
        self._face_model = face_model
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

    @property
    def _teacher(self) -> SuperFaceTeacherModel:
        return cast("SuperFaceTeacherModel", self.model)

    def __call__(  # type: ignore[override]
        self,
        image: Any = None,
        *,
        video: Any = None,
        motion: MotionLike | None = None,
        audio: Any = None,
        text: str | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: bool = True,
        face: FaceChoice = "largest",
        paste_back: bool = True,
        fps: float | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Any:
        """Renders a clip.

        Args:
            image: the portrait: a path, an http(s) URL, bytes, a PIL image or an array (see
                :func:`~superface_hf.media.load_picture`). A list of them gives a list of clips, a generator an iterator of
                clips, all driven by the same video or motion.
            video: a driving video: a path, URL or bytes; a list of pictures or an array (T, H, W, 3), at ``fps`` or 25
                frames a second; or a Motion. Its sound is carried over.
            motion: a Motion, a .safetensors file of one, or the name of a bundled one (nod, look_around, blink, smile, speak).
            audio, text: this version cannot be driven by speech yet, and says so.
            edit: ARKit blendshapes to add to every frame, such as ``{"jawOpen": 0.4}``. On its own it gives one frame.
            regions: takes "mouth", "eyes", "brows", "gaze" or "head" from another motion; it is brought to the clip's frame
                rate, cut if it is longer, and holds its last frame if it is shorter.
            relative: add the driving motion's changes since its first frame to the portrait's own pose and expression; False
                takes the driving pose and expression as they are. Either way the head starts where it is in the picture, at
                its size, and the portrait keeps its own face shape.
            face: which face of the picture: "largest", "only" (an error if there are several), or an index from 0, the
                largest.
            paste_back: False gives the square crop as rendered instead of the full picture.
            fps: frame rate of the result; by default that of the driver.
            seed: seeds whatever is random in a renderer. The embedded teacher is deterministic.
            batch_size: frames rendered at once.
            progress: True or False shows or hides the progress bar; by default it appears on a terminal, on long work.

        Returns:
            A :class:`TalkingFaceClip`, or a list or iterator of them.

        Raises:
            MediaError: a picture or video cannot be read, or is too large.
            NoFaceError, SeveralFacesError: see ``face``; NoFaceError also for a driving video without a face.
            MotionError, UnknownNameError: a motion, region, blendshape or option that does not fit.
        """
        self._check(image, video, motion, audio, text, face, fps)
        driving = self._read_driver(video, motion, edit, regions, relative, fps, progress)
        options = Options(face, paste_back, batch_size, progress, seed)
        if isinstance(image, (list, tuple)):
            return [self._clip(one, driving, options) for one in image]
        if isinstance(image, GeneratorType):
            return (self._clip(one, driving, options) for one in image)
        return self._clip(image, driving, options)

    def write(
        self,
        path: str | os.PathLike[str],
        image: Any,
        *,
        video: Any = None,
        motion: MotionLike | None = None,
        audio: Any = None,
        text: str | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: bool = True,
        face: FaceChoice = "largest",
        paste_back: bool = True,
        fps: float | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Motion:
        """As calling the pipeline and saving the clip, but frames go straight into the mp4: memory does not grow with length.

        Args are those of :meth:`__call__`, for one picture. Returns the motion that was rendered.
        """
        self._check(image, video, motion, audio, text, face, fps)
        check_video_path(path)
        portrait = self.preprocess(image, face)
        driving = self._read_driver(video, motion, edit, regions, relative, fps, progress)
        moved, landmarks = self._moved(portrait, driving)
        sound = driving.sound or Sound(np.zeros(0, np.float32), 1)
        batches = self._batches(landmarks, batch_size)
        with (
            Mp4Writer(path, driving.fps, sound.samples, sound.rate) as writer,
            self._seeded(seed),
            progress_bar("Rendering", len(moved), progress) as bar,
        ):
            for frame in bar.over(self._render(portrait, batches, paste_back)):
                writer.add(frame)
        return moved

    def stream(
        self,
        image: Any,
        *,
        video: Any = None,
        motion: MotionLike | None = None,
        audio: Any = None,
        text: str | None = None,
        edit: Mapping[str, float] | None = None,
        regions: Mapping[str, MotionLike] | None = None,
        relative: bool = True,
        face: FaceChoice = "largest",
        paste_back: bool = True,
        fps: float | None = None,
        seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields frames (H, W, 3) uint8 one by one, the first one early, in constant memory.

        A driving video is tracked while it is read, so its motion is smoothed by looking back only and the person's shape
        comes from the first face: frames differ slightly from those of :meth:`__call__`. For a Motion they are the same.
        Args are those of :meth:`__call__`, for one picture; ``video`` may also be a generator of frames (H, W, 3) uint8.
        """
        self._check(image, video, motion, audio, text, face, fps)
        portrait = self.preprocess(image, face)
        if video is None or isinstance(video, Motion):
            driving = self._read_driver(video, motion, edit, regions, relative, fps, progress=False)
            return self._stream_frames(portrait, self._moved(portrait, driving)[1].split(1), paste_back, seed)
        frames, rate = (video, fps or DEFAULT_FPS) if isinstance(video, GeneratorType) else _open_video(video, fps)
        changes = Changes.checked(relative, edit, regions, fps or rate)
        motions = resampled(self._follow(frames, rate), rate, fps or rate)
        retarget = Retargeter(portrait, changes, self.face_model)
        return self._stream_frames(portrait, (retarget(each)[1] for each in motions), paste_back, seed)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Saves the model; ``pipeline("talking-face", model=folder)`` loads it where this package is installed.

        The package's code is not copied beside the weights, as transformers would do: it does not fit into one folder.
        """
        self.model.save_pretrained(save_directory, **kwargs)

    # The three steps of a transformers pipeline, for those who build on it.

    def preprocess(self, input_: Any, face: FaceChoice = "largest") -> Portrait:  # type: ignore[override]
        """Finds the portrait in a picture."""
        with torch.inference_mode():
            return find_portrait(input_, self.tracker, self.face_model, face, self.model.config.image_size)

    def _forward(self, input_tensors: Mapping[str, Any], **_: Any) -> RenderedCrops:  # type: ignore[override]
        """``source`` (what the model prepared) and ``landmarks`` (B, 478, 3) -> the rendered crops."""
        landmarks = input_tensors["landmarks"].to(self.device)
        with torch.inference_mode(), self._precision():
            output = self._teacher.render(input_tensors["source"], landmarks)
        return RenderedCrops(output.frames, output.warped, output.motion.flow)

    def postprocess(self, model_outputs: RenderedCrops, paste: PasteBack | None = None) -> np.ndarray:  # type: ignore[override]
        """Frames -> (B, H, W, 3) uint8, pasted back where asked for."""
        return paste(model_outputs) if paste else as_pictures(model_outputs.frames)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise TypeError(f"The talking-face pipeline does not know the argument {next(iter(kwargs))!r}.")
        return {}, {}, {}

    def _check(
        self, image: Any, video: Any, motion: Any, audio: Any, text: Any, face: FaceChoice, fps: float | None
    ) -> None:
        if audio is not None or text is not None:
            raise SuperFaceError(
                "This version cannot be driven by speech or text yet: pass video=, motion=, edit= or regions= instead."
            )
        if image is None:
            raise MediaError("A picture of the person is needed: pass its path, URL, bytes, PIL image or array.")
        if video is not None and motion is not None:
            raise MotionError(
                "Pass video= or motion=, not both; regions= takes parts of the face from a second motion."
            )
        if fps is not None and not (np.isfinite(fps) and 0 < fps <= 240):
            raise MotionError(f"fps must lie above 0 and up to 240, not {fps}.")
        check_face_choice(face)

    def _read_driver(
        self,
        video: Any,
        motion: MotionLike | None,
        edit: Mapping[str, float] | None,
        regions: Mapping[str, MotionLike] | None,
        relative: bool,
        fps: float | None,
        progress: bool | None,
    ) -> Driving:
        if isinstance(video, Motion):
            video, motion = None, video
        if motion is not None:
            own = as_motion(motion)
            own = own if fps in (None, own.fps) else own.resample(fps or own.fps)
            return Driving(own.fps, Changes.checked(relative, edit, regions, own.fps), own)
        if video is not None:
            frames, rate = _open_video(video, fps)
            changes = Changes.checked(relative, edit, regions, fps or rate)
            with torch.inference_mode(), progress_bar("Tracking", frames.frame_count, progress) as bar:
                driven = video_to_motion(bar.over(frames), rate, self.tracker, self.face_model)
            _report_missing(driven.missing, len(driven.motion))
            own = driven.motion if fps in (None, rate) else driven.motion.resample(fps or rate)
            return Driving(own.fps, changes, own, frames.sound(), driven.missing)
        if not edit and not regions:
            raise MotionError("There is nothing to drive the portrait with: pass video=, motion=, edit= or regions=.")
        rates = [as_motion(other).fps for other in (regions or {}).values()]
        rate = fps or (rates[0] if rates else DEFAULT_FPS)
        return Driving(rate, Changes.checked(relative, edit, regions, rate))

    def _moved(self, portrait: Portrait, driving: Driving) -> tuple[Motion, Tensor]:
        motion = driving.motion
        if motion is None:
            frames = max((len(other) for other in driving.changes.regions.values()), default=1)
            motion = still(portrait, frames, driving.fps)
        return Retargeter(portrait, driving.changes, self.face_model)(motion)

    def _clip(self, image: Any, driving: Driving, options: Options) -> TalkingFaceClip:
        portrait = self.preprocess(image, options.face)
        moved, landmarks = self._moved(portrait, driving)
        batches = self._batches(landmarks, options.batch_size)
        side = self.model.config.image_size
        height, width = portrait.picture.shape[:2] if options.paste_back else (side, side)
        try:
            frames = np.empty((len(moved), height, width, 3), np.uint8)
        except MemoryError:
            raise MediaError(
                f"{len(moved)} frames of {width} x {height} pixels do not fit into memory: use stream() or write()."
            ) from None
        with self._seeded(options.seed), progress_bar("Rendering", len(moved), options.progress) as bar:
            for index, frame in enumerate(bar.over(self._render(portrait, batches, options.paste_back))):
                frames[index] = frame
        sound = driving.sound.cut(len(frames) / driving.fps) if driving.sound else None
        audio, rate = (sound.samples, sound.rate) if sound else (None, None)
        return TalkingFaceClip(frames, driving.fps, moved, audio, rate, list(driving.missing))

    def _stream_frames(
        self, portrait: Portrait, landmarks: Any, paste_back: bool, seed: int | None
    ) -> Iterator[np.ndarray]:
        with self._seeded(seed):
            yield from self._render(portrait, landmarks, paste_back)

    def _render(self, portrait: Portrait, batches: Any, paste_back: bool) -> Iterator[np.ndarray]:
        paste = PasteBack(portrait.picture, portrait.crop, self.model.config.image_size) if paste_back else None
        source = cut_out(portrait.picture, portrait.crop, self.model.config.image_size).to(self.device)
        landmarks = torch.from_numpy(portrait.landmarks)[None].to(self.device)
        with torch.inference_mode(), self._precision():
            prepared = self._teacher.prepare(source, landmarks)
        for batch in batches:
            yield from self.postprocess(self._forward({"source": prepared, "landmarks": batch}), paste)

    def _batches(self, landmarks: Tensor, batch_size: int | None) -> tuple[Tensor, ...]:
        size = batch_size or self._batch_size or FRAMES_AT_ONCE.get(self.device.type, 8)
        if size < 1:
            raise SuperFaceError(f"batch_size must be at least 1, not {size}.")
        return landmarks.split(size)

    def _follow(self, frames: Any, fps: float) -> Iterator[Motion | None]:
        """Motions as they come, the last one held where no face is found."""
        last: Motion | None = None
        missing: list[int] = []
        count = 0
        with torch.inference_mode():
            for count, motion in enumerate(follow_motion(frames, fps, self.tracker, self.face_model), start=1):
                if motion is None:
                    missing.append(count - 1)
                last = motion or last
                yield last
        _report_missing(missing, count)

    def _precision(self) -> Any:
        """Below float32 the weights are narrow, but coordinates must not be: autocast knows which is which."""
        return torch.autocast(self.device.type, dtype=self.model.dtype, enabled=self.model.dtype != torch.float32)

    @contextmanager
    def _seeded(self, seed: int | None) -> Iterator[None]:
        if seed is None:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield


def _open_video(video: Any, fps: float | None) -> tuple[VideoReader, float]:
    reader = VideoReader(video, fps)
    return reader, reader.fps


def _report_missing(missing: list[int], frames: int) -> None:
    if missing:
        logger.warning(
            f"No face was found in {len(missing)} of {frames} driving frames (first: {missing[0]}); they hold the last motion."
        )
