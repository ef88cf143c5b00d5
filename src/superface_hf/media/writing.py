"""Video out: H.264 and AAC in an mp4 that every player opens, complete or not there at all, and marked as AI-generated."""

from __future__ import annotations

import os
import shutil
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from ..utils.files import expanded, part_of
from .label import labelled

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
SLOWEST, FASTEST = 0.1, 1000.0  # frames a second
TRIAL = 4096  # bytes written to find out whether writing is possible
LEAST_ROOM = 16 * 2**20  # bytes that a disk must have left, which half a minute of a small video needs
FRAMES_WAITING = 3  # for the encoder
QUALITY = "16"  # x264's constant rate factor: visually lossless
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_BITS_PER_SECOND = {1: 96_000, 2: 160_000}
VP9_QUALITY = "18"  # VP9's constant quality: visually lossless
BT709 = 1  # the number of BT.709 in matrix, primaries and transfer alike (ISO 23091-2)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; it becomes ``path`` only if the block succeeds, and is removed otherwise."""
    path = _usable(path)
    temporary = part_of(path)
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Finds out before a long computation that its result could not be written; makes missing folders.

    Returns:
        The path, with its "~" expanded.

    Raises:
        MediaError: the path is a folder or no file, its name is too long, its folder cannot be made or written to, or the
            disk is full.
    """
    path = _usable(path)
    trial = part_of(path)
    try:
        # Rights, quotas and file systems that are read only show in no other way everywhere.
        trial.write_bytes(bytes(TRIAL))
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise MediaError(f"The folder {path.parent} cannot be written to: {error}") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
    if free < LEAST_ROOM:
        raise MediaError(
            f"The disk of the folder {path.parent} has only {free / 2**20:.0f} MiB left, and at least {LEAST_ROOM // 2**20} "
            "are needed: make room, or write somewhere else."
        )
    return path


def _usable(path: str | os.PathLike[str]) -> Path:
    """The path with its "~" expanded, where a file can have that name; its folder is made."""
    path = expanded(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise MediaError(f"{path} is a folder: name a file.")
    if mode is not None and not stat.S_ISREG(mode):
        raise MediaError(f"{path} is no file, but a pipe, socket or device: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"The folder {path.parent} cannot be made: {error}") from error
    return path


def check_video_path(path: str | os.PathLike[str]) -> Path:
    """Finds out before a long computation that its video could not be written.

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
    """How a video is written: container, codec of the picture with its pixels and options, channels of a frame, and codec of
    the sound."""

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
        audio: (N,) or (N, 2) float32 in [-1, 1], or blocks of it that are asked for as they are needed, such as a
            :class:`~superface_hf.media.SoundReader`; cut to the length of the picture.
        sampling_rate: of ``audio``.
        label: whether "AI-generated" stands in a corner of the picture for everybody to see.
        source_type: IPTC's term for how it was made; ``marks.MADE_UP`` for a face that is nobody's.

    Frames are encoded by a thread of its own, while the next ones are made; a few wait at most. What goes wrong there is
    raised by a later :meth:`add` or at the end. Pictures with an odd side get one more row or column (the last one again), as
    H.264 stores colour in pairs. The file's metadata says that it is AI-generated, see :mod:`superface_hf.provenance.marks`.
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
        if not SLOWEST <= fps <= FASTEST:  # NaN is not
            raise MediaError(f"fps must be above zero, from {SLOWEST:g} to {FASTEST:g}, not {fps}.")
        self._fps = Fraction(fps).limit_denominator(1001)
        self._blocks = _sound_blocks(audio, sampling_rate)
        self._rate = sampling_rate or 0
        self._label = label
        self._frames = 0
        self._size: tuple[int, ...] | None = None
        self._waiting: deque[Future[None]] = deque()

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
        """Appends one frame (H, W, 3) uint8, all of one size."""
        channels = self._form.channels
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != channels:
            raise MediaError(
                f"A frame must be uint8 of the shape (H, W, {channels}), not {frame.dtype} of {frame.shape}."
            )
        if self._size is None:
            self._start(frame.shape)
        elif frame.shape != self._size:
            raise MediaError(f"Frame {self._frames} has the shape {frame.shape}, the first one {self._size}.")
        # A copy: whoever gave it may fill it with the next frame.
        self._waiting.append(self._encoder.submit(self._encode, frame.copy(), self._frames))
        self._frames += 1
        while len(self._waiting) > FRAMES_WAITING:
            self._waiting.popleft().result()

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
        # Of whatever kind the form has: av's types know no codec by a name that is not written out.
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
            None if first is None else _SoundTrack(self._container, first, self._blocks, self._rate, self._form.sound)
        )

    def _finish(self) -> None:
        if self._size is None:
            raise MediaError(f"There are no frames to write to {self._path}.")
        for encoded in self._waiting:
            encoded.result()
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.flush(self._container)
        self._container.close()
        if self._form.container != "webm":  # which carries its mark as a tag alone
            mark_video(self._temporary, self._source_type)

    def _close_quietly(self) -> None:
        try:
            self._container.close()
        except (OSError, ValueError, av.FFmpegError):
            return  # the file is thrown away, and the first error says more


class _SoundTrack:
    """Encodes sound in step with the picture, so that neither waits in memory for the other."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        first: np.ndarray,
        more: Iterator[np.ndarray],
        rate: int,
        codec: str,
    ) -> None:
        self._ready, self._more = first, more
        self._rate, self._done = rate, 0
        channels = first.shape[1]
        self._layout = "mono" if channels == 1 else "stereo"
        coded_rate = rate if codec == "aac" and rate in AAC_RATES else 48000
        self._stream = cast("Any", container.add_stream(codec, rate=coded_rate, layout=self._layout))
        self._stream.bit_rate = AAC_BITS_PER_SECOND[channels]
        self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=coded_rate)

    def write_until(self, container: av.container.OutputContainer, seconds: float) -> None:
        samples = self._take(round(seconds * self._rate) - self._done)
        if len(samples) == 0:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
        self._done += len(samples)
        for part in self._resampler.resample(frame):
            container.mux(self._stream.encode(part))

    def _take(self, count: int) -> np.ndarray:
        """The next ``count`` samples, fewer at the end of the sound."""
        while len(self._ready) < count and (block := next(self._more, None)) is not None:
            self._ready = np.concatenate([self._ready, block])
        taken, self._ready = self._ready[: max(0, count)], self._ready[max(0, count) :]
        return taken

    def flush(self, container: av.container.OutputContainer) -> None:
        if self._done:
            for part in self._resampler.resample(None):
                container.mux(self._stream.encode(part))
        container.mux(self._stream.encode(None))


def write_mp4(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float,
    audio: np.ndarray | Iterable[np.ndarray] | None = None,
    sampling_rate: int | None = None,
    label: bool = False,
    source_type: str = SOURCE_TYPE,
) -> None:
    """Writes frames (H, W, 3) uint8 and their sound as mp4; see :class:`Mp4Writer`.

    Raises:
        MediaError: no frames, frames of several sizes, an unsupported suffix, or a place that cannot be written.
        ProvenanceError: the environment names a certificate that cannot sign.
    """
    with Mp4Writer(path, fps, audio, sampling_rate, label, source_type) as writer:
        for frame in frames:
            writer.add(frame)


def _sound_blocks(audio: np.ndarray | Iterable[np.ndarray] | None, rate: int | None) -> Iterator[np.ndarray]:
    """(n, 1) or (n, 2) each. An array is checked now, blocks as they come."""
    if audio is None or (isinstance(audio, np.ndarray) and len(audio) == 0):
        return iter(())
    if rate is None or rate <= 0:
        raise MediaError("Sound needs its sampling_rate.")
    if isinstance(audio, np.ndarray):
        return iter([_checked_block(audio)])
    return (_checked_block(block) for block in audio if len(block))


def _checked_block(audio: np.ndarray) -> np.ndarray:
    samples = np.asarray(audio, np.float32)
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or samples.shape[1] not in (1, 2) or not np.isfinite(samples).all():
        raise MediaError(f"Sound must be finite and have the shape (N,) or (N, 2), not {np.shape(audio)}.")
    return np.clip(samples, -1, 1)
