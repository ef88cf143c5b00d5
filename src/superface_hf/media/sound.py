"""Read sound: every input becomes samples in [-1, 1], at once or in blocks. Memory does not grow with length."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..errors import MediaError
from .container import incomplete, open_container, reason
from .decoding import decoded
from .download import is_url
from .samples import (
    BLOCK_SECONDS,
    MAX_CHANNELS,
    MAX_RATE,
    MIN_RATE,
    SPEECH_RATE,
    Sound,
    as_sound,
    blocks_of,
    check_length,
    checked_samples,
    mono_blocks,
)
from .sources import View, describe, open_source
from .timeline import Timeline

logger = logging.getLogger(__name__)

# A megabyte of compressed silence may last for days.
MAX_SECONDS = 12 * 3600
# Formats of packets without time stamps: the length of a lost part is known by its bytes alone.
RAW_FORMATS = ("mp3", "aac", "ac3", "eac3", "dts", "dtshd")


class SoundReader:
    """Reads a sound block by block; may be read more than once.

    Args:
        source: a path, an http(s) URL, bytes or an open binary file with a sound track (videos too); an array or tensor of
            samples; ``(array, rate)``; ``{"array": ..., "sampling_rate": ...}`` or a decoder as ``datasets`` gives them; a
            :class:`Sound`. An array is (N,), (N, channels) or (channels, N), of floats in [-1, 1] (slightly louder peaks
            are clipped) or of int16, int32, int8 or uint8.
        sampling_rate: samples a second of an array that has none; ignored for sources that have their own.

    More than two channels are mixed to stereo (files) or mono (arrays). In a video the sound starts with the picture.
    Missing or damaged packets of a file become silence, and the sound after them keeps its position.

    Attributes:
        rate: samples a second.

    Raises:
        MediaError: it cannot be read, has no sound, or an array has no sampling rate, NaN, a wrong shape or scale. While
            reading: a file holds NaN, or less than 0.02 s of sound.
    """

    def __init__(self, source: Any, sampling_rate: int | float | None = None) -> None:
        self._name = describe(source)
        self._sound = as_sound(source, sampling_rate)
        self._path: Path | None = None
        self._file: Any = None
        if self._sound is not None:
            self.rate = self._sound.rate
            check_length(len(self._sound.samples), self.rate, self._name)
            return
        source = _file_of(source)
        # A file on disk is opened for each pass; bytes and downloads are kept open.
        self._path = Path(source) if isinstance(source, (str, os.PathLike)) and not is_url(source) else None
        self._file = None if self._path else open_source(source, "sound")
        self._warned: set[str] = set()
        with self._open() as (_, stream):
            self.rate = int(stream.rate or 0)
        if incomplete(self._path or self._file, "sound"):
            self._warn_once(
                f"The sound {self._name} is incomplete: the file ends too early, and only what is there is read."
            )

    @property
    def seconds(self) -> float | None:
        """The duration; of a file as its header says, None if it does not."""
        if self._sound is not None:
            return self._sound.seconds
        with self._open() as (container, stream):
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield blocks (n,) or (n, 2) float32 in [-1, 1], of about a second, at the sound's own rate."""
        if self._sound is not None:
            yield from blocks_of(self._sound)
            return
        samples = 0
        for block in self._decoded():
            samples += len(block)
            if samples > MAX_SECONDS * self.rate:
                raise MediaError(
                    f"The sound {self._name} lasts longer than {MAX_SECONDS // 3600} hours: cut it into parts."
                )
            yield block
        check_length(samples, self.rate, self._name)

    def mono(self, rate: int = SPEECH_RATE) -> Iterator[np.ndarray]:
        """Yield blocks (n,) float32: both channels mixed, at another rate."""
        return mono_blocks(self, self.rate, rate)

    def read(self) -> Sound:
        """Return the whole sound."""
        return self._sound or Sound(np.concatenate(list(self)), self.rate)

    @contextmanager
    def _open(self) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
        with open_container(self._path or self._file, "sound", self._name) as container:
            if not container.streams.audio:
                raise MediaError(f"{self._name} has no sound track.")
            stream = container.streams.audio[0]
            if not MIN_RATE <= (stream.rate or 0) <= MAX_RATE:
                raise MediaError(f"The sound {self._name} has the unusable rate of {stream.rate} samples a second.")
            channels = stream.codec_context.channels
            if not 1 <= channels <= MAX_CHANNELS:
                raise MediaError(f"The sound {self._name} has {channels} channels: the limit is {MAX_CHANNELS}.")
            yield container, stream

    def _decoded(self) -> Iterator[np.ndarray]:
        collected: list[np.ndarray] = []
        for piece in self._pieces():
            collected.append(piece)
            if sum(part.shape[1] for part in collected) >= BLOCK_SECONDS * self.rate:
                yield self._block(collected)
                collected = []
        if any(piece.size for piece in collected):
            yield self._block(collected)

    def _pieces(self) -> Iterator[np.ndarray]:
        """Yield pieces (1 or 2, n) float32, with silence where nothing was recorded or sound is lost."""
        with self._open() as (container, stream):
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            channels = 1 if layout == "mono" else 2
            timeline = Timeline(self.rate, _start(container))
            resampler, form = None, None
            for frame, lost in self._intact_frames(container, stream):
                yield from _silence(timeline.silence_before(frame.time, lost), channels, self.rate, timeline)
                if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    yield from self._mixed_down(resampler, None, timeline)
                    resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.rate)
                yield from self._mixed_down(resampler, frame, timeline)
            if resampler is None:
                raise MediaError(f"The sound {self._name} holds nothing that can be decoded.")
            yield from self._mixed_down(resampler, None, timeline)
        if timeline.gaps:
            total, first = sum(timeline.gaps.values()), min(timeline.gaps)
            self._warn_once(
                f"{total:.1f} s of the sound {self._name} are missing in {len(timeline.gaps)} places (the first after "
                f"{first:.1f} s): silence is in their place."
            )
        if timeline.lost:
            self._warn_once(
                f"{timeline.lost:.2f} s of the sound {self._name} are lost to damage: silence is in their place."
            )

    def _intact_frames(
        self, container: av.container.InputContainer, stream: av.AudioStream
    ) -> Iterator[tuple[av.AudioFrame, float | None]]:
        """Yield decoded frames, each with the least number of seconds that are damaged and lost before it (None: there
        is no damage)."""
        raw = container.format.name in RAW_FORMATS
        read, seconds = 0, 0.0  # bytes and seconds of intact packets
        damaged: int | None = None  # damaged bytes since the last intact packet
        packets = 0
        for packet, frames in decoded(container, stream):
            if frames is None:
                if damaged is None:
                    damaged = self._hidden_bytes() if raw and not packets else 0
                packets += 1
                damaged += packet.size if packet is not None else 0
                continue
            for frame in frames:
                yield frame, None if damaged is None else damaged * (seconds / read) if raw and read else 0.0
                damaged = None
                seconds += frame.samples / frame.sample_rate
            read += packet.size if packet is not None else 0
        if packets:
            self._warn_once(f"{packets} damaged packets of the sound {self._name} were passed over.")

    def _hidden_bytes(self) -> int:
        """Return how many of a raw file's bytes are in no packet, because damage kept FFmpeg from finding them."""
        begin, read = None, 0
        with self._open() as (container, stream):
            for packet in container.demux(stream):
                if packet.size:
                    begin = begin if begin is not None else packet.pos or 0
                    read += packet.size
        with open_source(self._path, "sound") if self._path else View(self._file) as file:
            return max(0, file.seek(0, os.SEEK_END) - (begin or 0) - read)

    def _warn_once(self, message: str) -> None:
        """Warn once, however often the sound is read."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def _mixed_down(
        self, resampler: av.AudioResampler | None, frame: av.AudioFrame | None, timeline: Timeline
    ) -> Iterator[np.ndarray]:
        try:
            parts = resampler.resample(frame) if resampler is not None else []
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"The channels of the sound {self._name} cannot be mixed: {reason(error)}") from error
        for part in parts:
            samples = np.asarray(part.to_ndarray(), np.float32)
            yield samples[:, timeline.add(samples.shape[1]) :]

    def _block(self, planes: list[np.ndarray]) -> np.ndarray:
        samples = np.concatenate(planes, axis=1)
        samples = checked_samples(samples, self._name)
        return samples[0] if len(samples) == 1 else np.ascontiguousarray(samples.T)


def load_sound(source: Any, sampling_rate: int | float | None = None) -> Sound:
    """Read a whole sound; for arguments and errors see :class:`SoundReader`."""
    return SoundReader(source, sampling_rate).read()


def _file_of(source: Any) -> Any:
    """Return the file of a source; ``datasets`` gives ``{"bytes", "path"}`` where it does not decode."""
    if not isinstance(source, Mapping):
        return source
    found = source.get("bytes") or source.get("path")
    if found is None:
        raise MediaError(
            f'A sound cannot be read from a dict of {sorted(source)}: it needs "array" and "sampling_rate".'
        )
    return found


def _silence(samples: int, channels: int, rate: int, timeline: Timeline) -> Iterator[np.ndarray]:
    """Yield silence in blocks of a second, because a pause may last for minutes."""
    timeline.add(samples)
    while samples > 0:
        count = min(samples, rate)
        yield np.zeros((channels, count), np.float32)
        samples -= count


def _start(container: av.container.InputContainer) -> float | None:
    """Return the time in seconds at which the picture of the same file starts, or None without a picture."""
    for video in container.streams.video:
        if not video.disposition & Disposition.attached_pic and None not in (video.start_time, video.time_base):
            return float((video.start_time or 0) * (video.time_base or 0))
    return None
