"""Sound in: from anything people have to samples in [-1, 1], at once or in blocks. Memory does not grow with length."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..errors import MediaError
from .container import incomplete, open_container, reason
from .decoding import decoded
from .download import is_url
from .sources import View, describe, open_source
from .timeline import Timeline

logger = logging.getLogger(__name__)

SPEECH_RATE = 16000  # samples a second that the speech models hear
MIN_RATE, MAX_RATE = 1000, 768_000
MIN_SECONDS = 0.02  # anything shorter is a click or a mistake, not a sound that a face could follow
MAX_CHANNELS = 32
# A megabyte of compressed silence may last for days.
MAX_SECONDS = 12 * 3600
BLOCK_SECONDS = 1.0
# Below this amplitude (-80 dB) nothing is heard, and a microphone's noise is above it.
SILENCE = 1e-4
# Floats beyond [-1, 1] by this factor are a loud recording, whose peaks are cut off; beyond it they have another scale.
LOUDEST = 4.0
# Files of packets without time stamps: what is lost in them is known by its bytes alone.
RAW_FORMATS = ("mp3", "aac", "ac3", "eac3", "dts", "dtshd")
# Audio devices and files know these sample formats; the offset is the value of silence.
INTEGER_FORMATS = {"uint8": (128.0, 128.0), "int8": (0.0, 128.0), "int16": (0.0, 32768.0), "int32": (0.0, 2.0**31)}


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording: ``samples`` float32 in [-1, 1], (N,) mono or (N, 2) stereo, at ``rate`` samples a second."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def silent(self) -> bool:
        """Whether nothing can be heard: no sample is louder than -80 dB."""
        return bool(np.abs(self.samples).max(initial=0) < SILENCE)

    def cut(self, seconds: float) -> Sound:
        """The first ``seconds``."""
        return Sound(self.samples[: max(0, round(seconds * self.rate))], self.rate)

    def fit(self, seconds: float) -> Sound:
        """Lasting exactly so long: cut, or with silence added at the end."""
        missing = max(0, round(seconds * self.rate) - len(self.samples))
        padding = [(0, missing), *[(0, 0)] * (self.samples.ndim - 1)]
        return Sound(np.pad(self.samples, padding), self.rate).cut(seconds) if missing else self.cut(seconds)

    def mono(self, rate: int = SPEECH_RATE) -> np.ndarray:
        """(N,) float32: both channels mixed, at another rate, as long in seconds."""
        return np.concatenate(list(SoundReader(self).mono(rate)))


class SoundReader:
    """A sound, block by block; may be read more than once.

    Args:
        source: a path, an http(s) URL, bytes or an open binary file of anything with a sound track (a video too); an array or
            tensor of samples; ``(array, rate)``; ``{"array": ..., "sampling_rate": ...}`` or a decoder as of ``datasets``;
            a :class:`Sound`. An array is (N,), (N, channels) or (channels, N), of floats in [-1, 1] (a little beyond is cut
            off) or of int16, int32, int8 or uint8.
        sampling_rate: samples a second of an array that comes without; ignored for everything that carries its own.

    More than two channels are mixed to stereo (of files) or mono (of arrays). In a video the sound starts with the picture.
    Where packets of a file are missing or damaged there is silence, and what follows keeps its place.

    Attributes:
        rate: samples a second.

    Raises:
        MediaError: it cannot be read, has no sound, or an array has no sampling rate, NaN, a wrong shape or scale. What only
            shows while reading is raised then: NaN in a file, less than 0.02 s of sound.
    """

    def __init__(self, source: Any, sampling_rate: int | float | None = None) -> None:
        self._name = describe(source)
        self._sound = _as_sound(source, sampling_rate)
        self._path: Path | None = None
        self._file: Any = None
        if self._sound is not None:
            self.rate = self._sound.rate
            _check_length(len(self._sound.samples), self.rate, self._name)
            return
        source = _file_of(source)
        # A file on disk is opened for each pass; what came as bytes or from a server is kept.
        self._path = Path(source) if isinstance(source, (str, os.PathLike)) and not is_url(source) else None
        self._file = None if self._path else open_source(source, "sound")
        self._said: set[str] = set()
        with self._open() as (_, stream):
            self.rate = int(stream.rate or 0)
        if incomplete(self._path or self._file, "sound"):
            self._say(f"The sound {self._name} is incomplete: the file ends too early, and only what is there is read.")

    @property
    def seconds(self) -> float | None:
        """How long it lasts; of a file what it says itself, None if it does not."""
        if self._sound is not None:
            return self._sound.seconds
        with self._open() as (container, stream):
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks (n,) or (n, 2) float32 in [-1, 1], of about a second, at the sound's own rate."""
        if self._sound is not None:
            yield from _slices(self._sound)
            return
        samples = 0
        for block in self._decoded():
            samples += len(block)
            if samples > MAX_SECONDS * self.rate:
                raise MediaError(
                    f"The sound {self._name} lasts longer than {MAX_SECONDS // 3600} hours: cut it into parts."
                )
            yield block
        _check_length(samples, self.rate, self._name)

    def mono(self, rate: int = SPEECH_RATE) -> Iterator[np.ndarray]:
        """Blocks (n,) float32: both channels mixed, at another rate."""
        return mono_blocks(self, self.rate, rate)

    def read(self) -> Sound:
        """All of it."""
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
        """(1 or 2, n) float32 each, silence where nothing was recorded or what was is lost."""
        with self._open() as (container, stream):
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            channels = 1 if layout == "mono" else 2
            timeline = Timeline(self.rate, _start(container))
            resampler, form = None, None
            for frame, lost in self._good_frames(container, stream):
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
            self._say(
                f"{total:.1f} s of the sound {self._name} are missing in {len(timeline.gaps)} places (the first after "
                f"{first:.1f} s): silence is in their place."
            )
        if timeline.lost:
            self._say(f"{timeline.lost:.2f} s of the sound {self._name} are lost to damage: silence is in their place.")

    def _good_frames(
        self, container: av.container.InputContainer, stream: av.AudioStream
    ) -> Iterator[tuple[av.AudioFrame, float | None]]:
        """Decodes, and passes over what is damaged; says with the frame behind it how many seconds that was at least."""
        raw = container.format.name in RAW_FORMATS
        read, seconds = 0, 0.0  # bytes and seconds of good packets
        damaged: int | None = None  # bytes since the last good one
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
            self._say(f"{packets} damaged packets of the sound {self._name} were passed over.")

    def _hidden_bytes(self) -> int:
        """How many of a raw file's bytes are in no packet: what was so damaged that it was not even found."""
        begin, read = None, 0
        with self._open() as (container, stream):
            for packet in container.demux(stream):
                if packet.size:
                    begin = begin if begin is not None else packet.pos or 0
                    read += packet.size
        with open_source(self._path, "sound") if self._path else View(self._file) as file:
            return max(0, file.seek(0, os.SEEK_END) - (begin or 0) - read)

    def _say(self, message: str) -> None:
        """However often the sound is read, things are said once."""
        if message not in self._said:
            self._said.add(message)
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
        samples = _checked(samples, self._name)
        return samples[0] if len(samples) == 1 else np.ascontiguousarray(samples.T)


def load_sound(source: Any, sampling_rate: int | float | None = None) -> Sound:
    """Reads a whole sound; arguments and errors as of :class:`SoundReader`."""
    return SoundReader(source, sampling_rate).read()


def comes_in_chunks(source: Any) -> bool:
    """Whether this is a generator (or any iterator that is no file), which :func:`mono_blocks` takes."""
    return isinstance(source, Iterator) and not hasattr(source, "read")


def mono_blocks(blocks: Iterable[Any], rate: int | float, to: int = SPEECH_RATE) -> Iterator[np.ndarray]:
    """Brings pieces of one sound to mono at another rate as they come; cut up differently, the result is the same.

    Args:
        blocks: arrays as :class:`SoundReader` takes them, of any length, also empty.
        rate: their samples a second.
        to: the rate wanted.

    Yields:
        (n,) float32; all together ``round(N * to / rate)`` samples.

    Raises:
        MediaError: a block is no array of samples, or holds NaN.
    """
    rate, to = _checked_rate(rate), _checked_rate(to)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=to)
    taken = given = 0
    for block in blocks:
        samples = _mixed(_from_array(block, "a chunk of the sound"))
        if len(samples) == 0:
            continue
        if rate == to:
            yield samples
            continue
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, taken, Fraction(1, rate)
        taken += len(samples)
        for part in resampler.resample(frame):
            resampled = part.to_ndarray()[0]
            given += len(resampled)
            yield resampled
    if taken:
        missing = max(0, round(taken * to / rate) - given)
        rest = [part.to_ndarray()[0] for part in resampler.resample(None)]
        yield np.concatenate([*rest, np.zeros(missing, np.float32)])[:missing]


def _as_sound(source: Any, sampling_rate: int | float | None) -> Sound | None:
    """What is in memory already; None for what has to be decoded."""
    if isinstance(source, Sound):
        return source
    if hasattr(source, "get_all_samples"):  # torchcodec's decoder, which `datasets` gives
        decoded = source.get_all_samples()
        return _sound_of(decoded.data, decoded.sample_rate)
    if isinstance(source, Mapping):
        for name in ("array", "audio"):
            if source.get(name) is not None:
                return _sound_of(source[name], source.get("sampling_rate", sampling_rate))
        return None
    if isinstance(source, tuple) and len(source) == 2:
        array, rate = source if np.ndim(source[1]) == 0 else source[::-1]
        return _sound_of(array, rate)
    if isinstance(source, (np.ndarray, list)) or hasattr(source, "__array__"):
        return _sound_of(source, sampling_rate)
    if comes_in_chunks(source):
        raise MediaError(
            f"A sound that comes in chunks ({describe(source)}) can only be streamed: pass it to stream(), or join the chunks "
            "with numpy.concatenate."
        )
    return None


def _file_of(source: Any) -> Any:
    """``datasets`` gives ``{"bytes", "path"}`` where it does not decode."""
    if not isinstance(source, Mapping):
        return source
    found = source.get("bytes") or source.get("path")
    if found is None:
        raise MediaError(
            f'A sound cannot be read from a dict of {sorted(source)}: it needs "array" and "sampling_rate".'
        )
    return found


def _sound_of(array: Any, rate: Any) -> Sound:
    if rate is None:
        raise MediaError(
            "An array of samples needs its sampling rate: pass sampling_rate=16000 (or whatever it was recorded at)."
        )
    samples = _from_array(array, "the given array")
    if len(samples) == 0:
        raise MediaError("The sound is empty: the array has no samples.")
    return Sound(samples, _checked_rate(rate))


def _checked_rate(rate: Any) -> int:
    if not isinstance(rate, (int, float, np.integer, np.floating)) or not MIN_RATE <= rate <= MAX_RATE:
        raise MediaError(
            f"A sampling rate lies between {MIN_RATE} and {MAX_RATE} samples a second; this one is {rate!r}."
        )
    return round(rate)


def _from_array(array: Any, name: str) -> np.ndarray:
    """(N,) or (N, 2) float32 in [-1, 1]."""
    if hasattr(array, "detach"):  # a torch tensor, perhaps on a GPU, perhaps bfloat16
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    try:
        values = np.asarray(array)
    except ValueError as error:
        raise MediaError(f"{name[0].upper()}{name[1:]} is not an array of samples: {error}") from error
    if values.size == 0:
        return np.zeros(0, np.float32)
    while values.ndim > 1 and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim == 2 and values.shape[0] < values.shape[1]:
        values = values.T
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] > MAX_CHANNELS):
        raise MediaError(
            f"An array of samples must have the shape (N,), (N, channels) or (channels, N), not {np.shape(array)}."
        )
    samples = _checked(_to_float(values, name), name)
    return samples.mean(1) if samples.ndim == 2 and samples.shape[1] > 2 else samples


def _to_float(values: np.ndarray, name: str) -> np.ndarray:
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    if values.dtype.name not in INTEGER_FORMATS:
        raise MediaError(
            f"Samples of {name} are {values.dtype}: pass floats in [-1, 1], or int16, int32, int8 or uint8."
        )
    middle, full = INTEGER_FORMATS[values.dtype.name]
    return ((values - middle) / full).astype(np.float32)


def _checked(samples: np.ndarray, name: str) -> np.ndarray:
    """Finite and in [-1, 1]."""
    if not np.isfinite(samples).all():
        raise MediaError(f"The sound of {name} holds NaN or infinite values.")
    loudest = float(np.abs(samples).max(initial=0))
    if loudest > LOUDEST:
        raise MediaError(
            f"The samples of {name} reach {loudest:g}, but floats must lie in [-1, 1]: divide them by their full scale "
            "(32768 for 16 bits), or pass them as int16."
        )
    return np.clip(samples, -1, 1) if loudest > 1 else samples


def _check_length(samples: int, rate: int, name: str) -> None:
    if samples < MIN_SECONDS * rate:
        raise MediaError(
            f"The sound of {name} lasts {samples / rate:.4f} s ({samples} samples): at least {MIN_SECONDS} s are needed."
        )


def _mixed(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(samples if samples.ndim == 1 else samples.mean(1), np.float32)


def _slices(sound: Sound) -> Iterator[np.ndarray]:
    step = max(1, round(BLOCK_SECONDS * sound.rate))
    for start in range(0, len(sound.samples), step):
        yield sound.samples[start : start + step]


def _silence(samples: int, channels: int, rate: int, timeline: Timeline) -> Iterator[np.ndarray]:
    """A block at a time: a pause may last for minutes."""
    timeline.add(samples)
    while samples > 0:
        count = min(samples, rate)
        yield np.zeros((channels, count), np.float32)
        samples -= count


def _start(container: av.container.InputContainer) -> float | None:
    """When the picture of the same file starts, in seconds; None without a picture."""
    for video in container.streams.video:
        if not video.disposition & Disposition.attached_pic and None not in (video.start_time, video.time_base):
            return float((video.start_time or 0) * (video.time_base or 0))
    return None
