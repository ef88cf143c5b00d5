"""Video in: one frame after the other, upright, at a constant frame rate, with its sound. Memory does not grow with length."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace
from transformers.utils import logging

from ..errors import MediaError
from .container import open_container
from .download import is_url
from .picture import load_picture
from .sound import Sound, SoundReader
from .sources import describe, open_source
from .work import Work

logger = logging.get_logger(__name__)

DEFAULT_FPS = 25.0  # of frames that come without a rate, and of files that do not say
MAX_FPS = 240.0
# A pause between two time stamps is filled by repeating the frame, but a broken stamp must not fill hours.
MAX_PAUSE = 5.0  # seconds
# The colour matrices of ISO 23091-2; a file that does not say follows the old custom of small = BT.601, large = BT.709.
MATRICES = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: Colorspace.BT2020}
LARGE_WIDTH, LARGE_HEIGHT = 1280, 576
MOST_DAMAGED = 1000  # packets
# A file is played backward in blocks: so many bytes of pictures are held at once, but at least so many frames.
BLOCK_BYTES, BLOCK_FRAMES = 128 * 2**20, 8


class VideoReader:
    """The frames of a video, (H, W, 3) uint8 RGB each; may be iterated more than once.

    Args:
        source: a path, an http(s) URL, bytes, an open binary file, an array (T, H, W, 3), or a list of pictures of one size.
        fps: the frame rate of an array or list (default 25); ignored for files, which carry their own.
        work: counts the frames that are read, see :class:`~superface_hf.media.Work`; by default one of its own.

    Files with a varying frame rate are brought to their average rate by repeating or leaving out frames, so that sound
    stays in step. The rotation that phones write into the file is applied.

    Attributes:
        size: width and height of a file's frames, as its header says; None for frames that come as pictures.

    Raises:
        MediaError: it cannot be read, is no video, or has no frames; while reading, also: it is more than ``work`` allows.
    """

    def __init__(self, source: Any, fps: float | None = None, work: Work | None = None) -> None:
        self._name = describe(source)
        self._work = work or Work()
        self.size: tuple[int, int] | None = None
        self._frames: Sequence[Any] | np.ndarray | None = None
        if isinstance(source, np.ndarray):
            if source.ndim != 4 or source.shape[-1] != 3:
                raise MediaError(f"A video array must have the shape (T, H, W, 3), not {source.shape}.")
            self._frames = source
        elif isinstance(source, (list, tuple)):
            self._frames = source
        elif isinstance(source, Iterator) and not hasattr(source, "read"):  # an open file is an iterator too
            raise MediaError(
                f"A video cannot be read from {self._name}: pass a list, an array, a path, a URL or bytes."
            )
        if self._frames is not None:
            if len(self._frames) == 0:
                raise MediaError("The video has no frames.")
            self.fps = DEFAULT_FPS if fps is None else fps
            self.frame_count: int | None = len(self._frames)
            return
        # A file on disk is opened for each pass; what came as bytes or from a server is kept.
        self._path = Path(source) if isinstance(source, (str, os.PathLike)) and not is_url(source) else None
        self._file: Any = None if self._path else open_source(source, "video")
        with self._open() as container:
            stream = container.streams.video[0]
            self.fps = _frame_rate(stream)
            self.frame_count = stream.frames or None
            self.size = stream.width, stream.height
        self._marks: list[_KeyFrame] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._frames is None:
            yield from self._decode()
            return
        size = None
        for index, frame in enumerate(self._frames):
            picture = load_picture(frame)
            self._work.add_frame(picture.shape[1], picture.shape[0], self._name)
            size = size or picture.shape
            if picture.shape != size:
                raise MediaError(f"Frame {index} of the video has the shape {picture.shape}, the first one {size}.")
            yield picture

    def backwards(self) -> Iterator[np.ndarray]:
        """The same frames from the last to the first, a block of them in memory at a time.

        A file is read through once more to find its key frames; each block is then decoded from the key frame before it.
        """
        if self._frames is not None:
            for picture in map(load_picture, reversed(self._frames)):
                self._work.add_frame(picture.shape[1], picture.shape[0], self._name)
                yield picture
            return
        self._marks = self._marks or self._key_frames()
        for mark, end in reversed(list(pairwise(self._marks))):
            stop = end.index
            while stop > mark.index:
                start = max(mark.index, stop - mark.block)
                yield from reversed(list(self._decode_part(mark, start, stop)))
                stop = start

    def sound(self) -> Sound | None:
        """The sound track, aligned with the first frame, or None where there is none."""
        reader = self.sound_reader()
        return reader.read() if reader else None

    def sound_reader(self) -> SoundReader | None:
        """The sound track block by block, aligned with the first frame, or None where there is none."""
        if self._frames is not None:
            return None
        with self._open() as container:
            if not container.streams.audio or not container.streams.audio[0].rate:
                return None
        return SoundReader(self._path or self._file)

    @contextmanager
    def _open(self) -> Iterator[av.container.InputContainer]:
        with open_container(self._path or self._file, "video", self._name, self._work.limit) as container:
            if not container.streams.video:
                raise MediaError(f"{self._name} has no video track.")
            stream = container.streams.video[0]
            self._work.check_size(stream.width, stream.height, self._name)
            yield container

    def _decode(self) -> Iterator[np.ndarray]:
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            clock = _Clock(self.fps, float(stream.time_base or 1 / self.fps))
            previous: np.ndarray | None = None
            for frame in self._good_frames(container, stream):
                repeats = clock.steps(frame.pts)
                if previous is not None:
                    for repeat in range(repeats):
                        if repeat:
                            self._work.add_frame(previous.shape[1], previous.shape[0], self._name)
                        yield previous
                previous = _to_rgb(frame)
            if previous is None:
                raise self._undecodable()
            yield previous

    def _good_frames(self, container: av.container.InputContainer, stream: Any) -> Iterator[av.VideoFrame]:
        """Decodes, and passes over damaged packets: a broken place in a long video must not end it."""
        damaged = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                break
            except (av.FFmpegError, ValueError):
                damaged += 1
                self._work.check_time()
                if damaged > MOST_DAMAGED:
                    break
                continue
            for frame in frames:
                # As decoded: what the header says about the size may be a lie.
                self._work.add_frame(frame.width, frame.height, self._name)
                yield frame
        if damaged:
            logger.warning(f"{damaged} damaged packets of the video {self._name} were passed over.")

    def _undecodable(self) -> MediaError:
        return MediaError(
            f"The video {self._name} has no frames that can be decoded: it is damaged, or its frames have far more than "
            f"{self._work.limit.megapixels:g} megapixels."
        )

    def _key_frames(self) -> list[_KeyFrame]:
        """Where decoding can start, about a block apart, and a last entry for the end of the video."""
        marks: list[_KeyFrame] = []
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            clock = _Clock(self.fps, float(stream.time_base or 1 / self.fps))
            block = 1
            for frame in self._good_frames(container, stream):
                clock.steps(frame.pts)
                block = max(BLOCK_FRAMES, BLOCK_BYTES // (3 * frame.width * frame.height))
                first = not marks
                if first or (frame.key_frame and frame.pts is not None and clock.index >= marks[-1].index + block):
                    marks.append(_KeyFrame(clock.index, block, None if first else frame.pts, copy(clock)))
        if not marks:
            raise self._undecodable()
        return [*marks, _KeyFrame(clock.index + 1, block, None, clock)]

    def _decode_part(self, mark: _KeyFrame, start: int, stop: int) -> Iterator[np.ndarray]:
        """Frames ``start`` to ``stop`` as iterating gives them, decoded from a key frame at or before ``start``."""
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if mark.pts is not None:
                container.seek(mark.pts, stream=stream)
            clock = copy(mark.clock)
            shown: av.VideoFrame | None = None
            for frame in self._good_frames(container, stream):
                if shown is None:
                    # Seeking lands at the key frame or before it; the frames in between are not wanted.
                    shown = frame if mark.pts is None or frame.pts == mark.pts else None
                    continue
                before = clock.index
                clock.steps(frame.pts)
                yield from _repeated(shown, max(before, start), min(clock.index, stop))
                if clock.index >= stop:
                    return
                shown = frame
            if shown is None:
                if mark.pts is None:
                    raise MediaError(f"The video {self._name} changed while it was being read.")
                # The file's index is wrong: from its start, then.
                yield from self._decode_part(self._marks[0], start, stop)
                return
            yield from _repeated(shown, max(clock.index, start), stop)


@dataclass(frozen=True)
class _KeyFrame:
    """A frame that can be decoded alone.

    ``index`` is its place in the video, ``block`` how many frames may be held at once, ``pts`` its time stamp (None: the
    start of the file), ``clock`` how the clock stood after it.
    """

    index: int
    block: int
    pts: int | None
    clock: _Clock


class _Clock:
    """Turns time stamps into steps on a constant frame rate; ``index`` counts the steps so far."""

    def __init__(self, fps: float, time_base: float) -> None:
        self._fps, self._time_base = fps, time_base
        self._start: float | None = None
        self.index = 0

    def steps(self, pts: int | None) -> int:
        """How many frame times have passed since the previous call; 0 drops the previous frame."""
        if pts is None:
            self.index += 1
            return 1
        time = pts * self._time_base
        if self._start is None:
            self._start = time
            return 0
        steps = round((time - self._start) * self._fps) - self.index
        if not 0 <= steps <= MAX_PAUSE * self._fps:
            self._start = time - (self.index + 1) / self._fps
            steps = 1
        self.index += steps
        return steps


def _repeated(frame: av.VideoFrame, start: int, stop: int) -> Iterator[np.ndarray]:
    if start < stop:
        picture = _to_rgb(frame)
        yield from (picture for _ in range(start, stop))


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    matrix = MATRICES.get(int(frame.colorspace))
    if matrix is None:
        large = frame.width >= LARGE_WIDTH or frame.height > LARGE_HEIGHT
        matrix = Colorspace.ITU709 if large else Colorspace.ITU601
    picture = frame.to_ndarray(format="rgb24", src_colorspace=matrix)
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))


def _frame_rate(stream: Any) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < float(rate) <= MAX_FPS:
            return float(rate)
    return DEFAULT_FPS
