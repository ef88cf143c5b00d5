"""Write video: H.264 and AAC in an mp4 that every player opens, complete or not at all, and marked as AI-generated."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from ..errors import MediaError
from ..provenance.credentials import Signer
from ..provenance.marks import SOURCE_TYPE, mark_video, mp4_tags
from .destination import check_writable, replacing
from .label import labelled
from .soundtrack import SoundTrack, sound_blocks

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
FPS_RANGE = (0.1, 1000.0)
MAX_PENDING = 3  # frames that wait for the encoder
QUALITY = "16"  # x264's constant rate factor: visually lossless
VP9_QUALITY = "18"  # VP9's constant quality: visually lossless
BT709 = 1  # the number of BT.709 in matrix, primaries and transfer alike (ISO 23091-2)


def check_video_path(path: str | os.PathLike[str]) -> Path:
    """Check before a long computation that its video can be written.

    Raises:
        MediaError: the name does not end in a supported suffix, or see :func:`check_writable`.
        ProvenanceError: the environment names a certificate that cannot sign.
    """
    target = Path(path)
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise MediaError(f"A video cannot be written to {target}: its name must end in {', '.join(VIDEO_SUFFIXES)}.")
    target = check_writable(target)
    Signer.from_environment()
    return target


@dataclass(frozen=True)
class Form:
    """The format of a written video: container, codec of the picture with its pixel format and options, channels of a
    frame, and codec of the sound."""

    container: str
    codec: str
    pixels: str
    options: Mapping[str, str]
    channels: int
    sound: str


H264 = Form("mp4", "libx264", "yuv420p", {"crf": QUALITY, "preset": "veryfast"}, 3, "aac")


class Mp4Writer:
    """Writes frames as they come; use it as a context manager. An exception inside leaves no file behind.

    Args:
        path: ends in .mp4, .m4v or .mov.
        fps: frames a second.
        audio: (N,) or (N, 2) float32 in [-1, 1], or blocks of it that are read as they are needed, such as a
            :class:`~superface_hf.media.SoundReader`; cut to the length of the picture.
        sampling_rate: samples a second of ``audio``.
        label: whether to draw "AI-generated" visibly in a corner of the picture.
        source_type: IPTC's term for how it was made; ``marks.MADE_UP`` for a made-up face.

    A separate thread encodes frames while the next ones are made; at most a few wait for it. Its errors are raised by a later
    :meth:`add` or at the end. Pictures with an odd side get one more row or column (the last one repeated), because H.264
    stores colour for pairs of pixels. The file's metadata marks it as AI-generated, see :mod:`superface_hf.provenance.marks`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        audio: np.ndarray | Iterable[np.ndarray] | None = None,
        sampling_rate: int | None = None,
        label: bool = False,
        source_type: str = SOURCE_TYPE,
    ) -> None:
        self._path = self._checked(path)
        self._source_type = source_type
        self._form = self._form_of(self._path)
        if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:  # refuses NaN too
            raise MediaError(f"fps must be above zero, from {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, not {fps}.")
        self._fps = Fraction(fps).limit_denominator(1001)
        self._blocks = sound_blocks(audio, sampling_rate)
        self._rate = sampling_rate or 0
        self._label = label
        self._frames = 0
        self._size: tuple[int, ...] | None = None
        self._pending: deque[Future[None]] = deque()

    def _checked(self, path: str | os.PathLike[str]) -> Path:
        return check_video_path(path)

    def _form_of(self, path: Path) -> Form:
        return H264

    def __enter__(self) -> Mp4Writer:
        self._replacing = replacing(self._path)
        self._temporary = self._replacing.__enter__()
        try:
            options = {} if self._form.container == "webm" else {"movflags": "+faststart"}
            self._container = av.open(str(self._temporary), "w", format=self._form.container, options=options)
            self._container.metadata.update(mp4_tags(self._source_type))
        except (OSError, av.FFmpegError) as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        self._encoder = ThreadPoolExecutor(1, "superface-mp4")
        return self

    def add(self, frame: np.ndarray) -> None:
        """Append one frame (H, W, 3) uint8, all of one size."""
        channels = self._form.channels
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != channels:
            raise MediaError(
                f"A frame must be uint8 of the shape (H, W, {channels}), not {frame.dtype} of {frame.shape}."
            )
        if self._size is None:
            self._start(frame.shape)
        elif frame.shape != self._size:
            raise MediaError(f"Frame {self._frames} has the shape {frame.shape}, the first one {self._size}.")
        # A copy, because the caller may fill the array with the next frame.
        self._pending.append(self._encoder.submit(self._encode, frame.copy(), self._frames))
        self._frames += 1
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft().result()

    def _encode(self, frame: np.ndarray, index: int) -> None:
        if self._label:
            frame = labelled(frame)
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        given = "rgb24" if self._form.channels == 3 else "rgba"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=given).reformat(
            format=self._form.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = index, 1 / self._fps
        self._container.mux(self._video.encode(picture))
        if self._sound is not None:
            self._sound.write_until(self._container, float((index + 1) / self._fps))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._encoder.shutdown(cancel_futures=error is not None)
            if error is None:
                self._finish()
        except BaseException as failure:
            self._close_quietly()
            self._replacing.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._close_quietly()
        self._replacing.__exit__(kind, error, traceback)

    def _start(self, shape: tuple[int, ...]) -> None:
        self._size = shape
        # av's type stubs know only codec names that are literals.
        self._video = cast("Any", self._container.add_stream(self._form.codec, rate=self._fps))
        self._video.width, self._video.height = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
        self._video.pix_fmt = self._form.pixels
        self._video.options = dict(self._form.options)
        context = self._video.codec_context
        context.time_base = 1 / self._fps
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        first = next(self._blocks, None)
        self._sound = (
            None if first is None else SoundTrack(self._container, first, self._blocks, self._rate, self._form.sound)
        )

    def _finish(self) -> None:
        if self._size is None:
            raise MediaError(f"There are no frames to write to {self._path}.")
        for encoded in self._pending:
            encoded.result()
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.flush(self._container)
        self._container.close()
        if self._form.container != "webm":  # a WebM has its mark as a tag alone
            mark_video(self._temporary, self._source_type)

    def _close_quietly(self) -> None:
        try:
            self._container.close()
        except (OSError, ValueError, av.FFmpegError):
            return  # the file is removed, and the first error says more


def write_mp4(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float,
    audio: np.ndarray | Iterable[np.ndarray] | None = None,
    sampling_rate: int | None = None,
    label: bool = False,
    source_type: str = SOURCE_TYPE,
) -> None:
    """Write frames (H, W, 3) uint8 and their sound as mp4; see :class:`Mp4Writer`.

    Raises:
        MediaError: no frames, frames of several sizes, an unsupported suffix, or a place that cannot be written.
        ProvenanceError: the environment names a certificate that cannot sign.
    """
    with Mp4Writer(path, fps, audio, sampling_rate, label, source_type) as writer:
        for frame in frames:
            writer.add(frame)
