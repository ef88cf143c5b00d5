"""Read video: frame by frame, upright, at a constant frame rate, with its sound. Memory does not grow with length."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import MediaError
from .alpha import Alpha
from .animation import Animation, animation_of
from .clock import Clock, frame_rate, spans
from .colour import Colours
from .container import incomplete, open_container
from .decoding import decoded, picture_track
from .deinterlacing import Deinterlacer
from .display import Orientation, fitted, square_size, squared
from .download import is_url
from .picture import load_picture
from .samples import Sound
from .sound import SoundReader
from .sources import describe, open_source
from .work import Work

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # of arrays and lists without a rate, and of files that state none
# A file is read backward in blocks: so many bytes of pictures are held at once, but at least so many frames.
BLOCK_BYTES, BLOCK_FRAMES = 128 * 2**20, 8


class VideoReader:
    """Reads the frames of a video, (H, W, 3) uint8 RGB each; may be iterated more than once.

    Args:
        source: a path, an http(s) URL, bytes, an open binary file, an array (T, H, W, 3), or a list of pictures.
        fps: the frame rate of an array or list (default 25); ignored for files, which have their own.
        work: counts the frames that are read, see :class:`~superface_hf.media.Work`; by default a new counter.

    A file's frames look as a player shows them: upright, not mirrored, with square pixels, deinterlaced, in sRGB (HDR is
    brought to an ordinary screen's range), white where they are transparent. Frames of another size are scaled to the size of
    the first one, in lists too. Files with a varying frame rate are brought to a constant one by repeating or leaving out
    frames; where the time stamps pause, the last frame is repeated, so that sound stays in step. Animated GIF, WebP, PNG and
    AVIF are videos too.

    Attributes:
        size: width and height of a file's frames, as its header says; None for arrays and lists.

    Raises:
        MediaError: it cannot be read, is no video, or has no frames; while reading: it exceeds the limit of ``work``.
    """

    def __init__(self, source: Any, fps: float | None = None, work: Work | None = None) -> None:
        self._name = describe(source)
        self._work = work or Work()
        self.size: tuple[int, int] | None = None
        self._first: tuple[int, int] | None = None  # width and height of the first frame, as shown
        self._orientation = Orientation()
        self._animation: Animation | None = None
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
        # A file on disk is opened for each pass; bytes and downloads are kept open.
        self._path = Path(source) if isinstance(source, (str, os.PathLike)) and not is_url(source) else None
        self._file: Any = None if self._path else open_source(source, "video")
        self._marks: list[_KeyFrame] = []
        self._warned: set[str] = set()
        opened = self._path or self._file
        assert opened is not None
        self._animation = animation_of(opened, self._name, self._work)
        if self._animation is not None:
            self.fps, self.size = self._animation.fps, self._animation.size
            self.frame_count = self._animation.count
            return
        with self._open() as (container, stream):
            self.size = square_size(stream.width, stream.height, stream.sample_aspect_ratio)
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            frames = stream.frames
            self.fps = frame_rate(container, stream, DEFAULT_FPS)
            self.frame_count = (frames and round(seconds * self.fps)) or frames or None
        if incomplete(opened, "video"):
            self._warn_once(
                f"The video {self._name} is incomplete: the file ends too early, and only what is there is read."
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._frames is None:
            yield from self._decode()
            return
        for picture in map(load_picture, self._frames):
            size = picture.shape[1], picture.shape[0]
            self._first = self._first or size
            self._work.add_frame(*max(size, self._first, key=math.prod), self._name)
            yield fitted(picture, *self._first)

    def backwards(self) -> Iterator[np.ndarray]:
        """Yield the same frames from the last to the first, with a block of them in memory at a time.

        A file is read through once more to find its key frames; each block is then decoded from the key frame before it.
        """
        if self._frames is not None:
            first = load_picture(self._frames[0])
            for picture in map(load_picture, reversed(self._frames)):
                self._work.add_frame(picture.shape[1], picture.shape[0], self._name)
                yield fitted(picture, first.shape[1], first.shape[0])
            return
        if self._animation is not None:
            block = max(BLOCK_FRAMES, BLOCK_BYTES // (3 * self._animation.size[0] * self._animation.size[1]))
            for stop in range(sum(1 for _ in self), 0, -block):
                yield from reversed(list(islice(self, max(0, stop - block), stop)))
            return
        self._marks = self._marks or self._key_frames()
        for mark, end in reversed(list(pairwise(self._marks))):
            stop = end.index
            while stop > mark.index:
                start = max(mark.index, stop - mark.block)
                yield from reversed(list(self._decode_part(mark, start, stop)))
                stop = start

    def sound(self) -> Sound | None:
        """Return the sound track, aligned with the first frame, or None where there is none."""
        reader = self.sound_reader()
        return reader.read() if reader else None

    def sound_reader(self) -> SoundReader | None:
        """Return the sound track block by block, aligned with the first frame, or None where there is none."""
        if self._frames is not None or self._animation is not None:
            return None
        with self._open() as (container, _):
            if not container.streams.audio or not container.streams.audio[0].rate:
                return None
        return SoundReader(self._path or self._file)

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, Any]]:
        with open_container(self._path or self._file, "video", self._name, self._work.limit) as container:
            stream = picture_track(container)
            if stream is None:
                raise MediaError(f"{self._name} has no video track.")
            self._work.check_size(stream.width, stream.height, self._name)
            stream.thread_type = "AUTO"
            yield container, stream

    def _clock(self, stream: Any) -> Clock:
        start = None if stream.start_time is None else float(stream.start_time * stream.time_base)
        return Clock(self.fps, float(stream.time_base or 1 / self.fps), start)

    def _decode(self) -> Iterator[np.ndarray]:
        if self._animation is not None:
            clock = Clock(self.fps, 1 / 1000)
            for still, start, stop in spans(self._animation, clock):
                yield from self._repeated(still.picture, start, stop)
            return
        with self._open() as (container, stream):
            painter = self._painter(container, stream)
            clock = self._clock(stream)
            frames = Deinterlacer(stream.time_base)(self._intact_frames(container, stream, painter))
            shown = False
            for frame, start, stop in spans(frames, clock):
                shown = True
                yield from self._repeated(painter(frame), start, stop)
        if not shown:
            raise self._undecodable()
        if clock.pauses:
            total, first = sum(clock.pauses.values()), min(clock.pauses)
            self._warn_once(
                f"The time stamps of the video {self._name} pause for {total:.1f} s in {len(clock.pauses)} places (the first "
                f"after {first:.1f} s): its last frame stands still there."
            )

    def _painter(self, container: av.container.InputContainer, stream: Any) -> _Painter:
        return _Painter(self, Colours(self._name, stream.codec_context.codec_tag), stream)

    def _repeated(self, picture: np.ndarray, start: int, stop: int) -> Iterator[np.ndarray]:
        for index in range(start, stop):
            if index > start:
                self._work.add_frame(picture.shape[1], picture.shape[0], self._name)
            yield picture

    def _intact_frames(
        self, container: av.container.InputContainer, stream: Any, painter: _Painter | None = None
    ) -> Iterator[av.VideoFrame]:
        """Yield decoded frames and pass over damaged packets, so that a broken place does not end a long video."""
        damaged = 0
        for packet, frames in decoded(container, stream):
            if frames is None:
                damaged += 1
                self._work.check_time()
                continue
            if painter is not None and packet is not None:
                painter.add_alpha(packet)
            for frame in frames:
                # The size of the decoded frame: the header may state another one.
                size = self._orientation.shown_size(frame, stream.sample_aspect_ratio)
                self._first = self._first or size
                self._work.add_frame(*max(size, self._first, key=math.prod), self._name)
                yield frame
        if damaged:
            self._warn_once(f"{damaged} damaged packets of the video {self._name} were passed over.")

    def _warn_once(self, message: str) -> None:
        """Warn once, however often the video is read."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def _undecodable(self) -> MediaError:
        return MediaError(
            f"The video {self._name} has no frames that can be decoded: it is damaged, or its frames have far more than "
            f"{self._work.limit.megapixels:g} megapixels."
        )

    def _key_frames(self) -> list[_KeyFrame]:
        """Return the key frames at which decoding can start, about a block apart, and a last entry for the end of the
        video."""
        marks: list[_KeyFrame] = []
        with self._open() as (container, stream):
            clock = self._clock(stream)
            block, last = 1, None
            for last in self._intact_frames(container, stream):
                clock.advance(last.pts)
                width, height = self._first or (last.width, last.height)
                block = max(BLOCK_FRAMES, BLOCK_BYTES // (3 * width * height))
                if not marks:
                    marks.append(_KeyFrame(0, block, None, copy(clock)))
                elif last.key_frame and last.pts is not None and clock.index >= marks[-1].index + block:
                    marks.append(_KeyFrame(clock.index, block, last.pts, copy(clock)))
        if last is None:
            raise self._undecodable()
        return [*marks, _KeyFrame(max(1, clock.end(last.duration)), block, None, clock)]

    def _decode_part(self, mark: _KeyFrame, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the frames ``start`` to ``stop`` as iterating gives them, decoded from a key frame at or before ``start``."""
        with self._open() as (container, stream):
            painter = self._painter(container, stream)
            if mark.pts is not None:
                container.seek(mark.pts, stream=stream)
            frames = Deinterlacer(stream.time_base)(self._intact_frames(container, stream, painter))
            # Seeking lands at the key frame or before it; frames before the key frame are skipped.
            shown = next((frame for frame in frames if mark.pts in (None, frame.pts)), None)
            if shown is not None:
                for frame, begin, end in spans(frames, copy(mark.clock), shown, mark.index):
                    if end > start:
                        yield from itertools.repeat(painter(frame), min(end, stop) - max(begin, start))
                    if end >= stop:
                        return
                return
        if mark.pts is None:
            raise MediaError(f"The video {self._name} changed while it was being read.")
        # The file's index is wrong: decode from the start instead.
        yield from self._decode_part(self._marks[0], start, stop)


class _Painter:
    """Turns decoded frames into pictures as a player shows them."""

    def __init__(self, reader: VideoReader, colours: Colours, stream: Any) -> None:
        self._reader, self._colours = reader, colours
        self._aspect = stream.sample_aspect_ratio
        self._alpha = Alpha(stream)

    def add_alpha(self, packet: av.Packet) -> None:
        self._alpha.add(packet)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        picture = squared(self._colours(frame, self._alpha.of(frame)), self._aspect)
        picture = self._reader._orientation.upright(picture, frame)
        return fitted(picture, *(self._reader._first or (picture.shape[1], picture.shape[0])))


@dataclass(frozen=True)
class _KeyFrame:
    """A frame that can be decoded alone.

    ``index`` is its position in the video, ``block`` how many frames may be held at once, ``pts`` its time stamp (None: the
    start of the file), ``clock`` the state of the clock after it.
    """

    index: int
    block: int
    pts: int | None
    clock: Clock
