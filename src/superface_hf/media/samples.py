"""Sound in memory: check samples, mix them to mono, and change their rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from ..errors import MediaError
from .sources import describe

SPEECH_RATE = 16000  # samples a second that the speech models hear
MIN_RATE, MAX_RATE = 1000, 768_000
MIN_SECONDS = 0.02  # anything shorter is a click or a mistake, not a sound that a face could follow
MAX_CHANNELS = 32
BLOCK_SECONDS = 1.0
# Below this amplitude (-80 dB) nothing is heard; a microphone's noise is above it.
SILENCE = 1e-4
# Peaks of floats beyond [-1, 1] up to this factor are clipped, as a loud recording; larger floats have another scale.
LOUDEST = 4.0
# The sample formats of audio devices and files: the value of silence, and the full scale.
INTEGER_FORMATS = {"uint8": (128.0, 128.0), "int8": (0.0, 128.0), "int16": (0.0, 32768.0), "int32": (0.0, 2.0**31)}


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound in memory: ``samples`` float32 in [-1, 1], (N,) mono or (N, 2) stereo, at ``rate`` samples a second."""

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
        """Return the first ``seconds`` of the sound."""
        return Sound(self.samples[: max(0, round(seconds * self.rate))], self.rate)

    def fit(self, seconds: float) -> Sound:
        """Return the sound with exactly this length: cut, or with silence added at the end."""
        missing = max(0, round(seconds * self.rate) - len(self.samples))
        padding = [(0, missing), *[(0, 0)] * (self.samples.ndim - 1)]
        return Sound(np.pad(self.samples, padding), self.rate).cut(seconds) if missing else self.cut(seconds)

    def mono(self, rate: int = SPEECH_RATE) -> np.ndarray:
        """Return (N,) float32: both channels mixed, at another rate, with the same duration."""
        return np.concatenate(list(mono_blocks(blocks_of(self), self.rate, rate)))


def comes_in_chunks(source: Any) -> bool:
    """Return whether the source is a generator (or any iterator that is no file), which :func:`mono_blocks` takes."""
    return isinstance(source, Iterator) and not hasattr(source, "read")


def mono_blocks(blocks: Iterable[Any], rate: int | float, to: int = SPEECH_RATE) -> Iterator[np.ndarray]:
    """Convert the pieces of one sound to mono at another rate as they come. The result does not depend on how the sound
    is cut.

    Args:
        blocks: arrays as :class:`SoundReader` takes them, of any length, also empty.
        rate: their samples a second.
        to: the rate wanted.

    Yields:
        (n,) float32; all together ``round(N * to / rate)`` samples.

    Raises:
        MediaError: a block is no array of samples, or holds NaN.
    """
    resampler = MonoResampler(_checked_rate(rate), _checked_rate(to))
    for block in blocks:
        ready = resampler.push(_mixed(_from_array(block, "a chunk of the sound")))
        if len(ready):
            yield ready
    rest = resampler.flush()
    if len(rest):
        yield rest


class MonoResampler:
    """Change the rate of mono samples as they come. The result does not depend on how they are cut.

    Args:
        rate, to: samples a second of what comes, and wanted.
    """

    def __init__(self, rate: int, to: int) -> None:
        self.rate, self._to = rate, to
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=to)
        self._taken = self._given = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples (N,) float32, and return the samples (n,) float32 that are ready."""
        if self.rate == self._to or not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self._taken, Fraction(1, self.rate)
        self._taken += len(samples)
        ready = self._resampled(frame)
        self._given += len(ready)
        return ready

    def flush(self) -> np.ndarray:
        """End the sound, and return what is left; all together are ``round(N * to / rate)`` samples."""
        if not self._taken:
            return np.zeros(0, np.float32)
        missing = max(0, round(self._taken * self._to / self.rate) - self._given)
        return np.concatenate([self._resampled(None), np.zeros(missing, np.float32)])[:missing]

    def _resampled(self, frame: av.AudioFrame | None) -> np.ndarray:
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate([np.zeros(0, np.float32), *parts])


def as_sound(source: Any, sampling_rate: int | float | None) -> Sound | None:
    """Return the sound of a source in memory, or None for a source that has to be decoded."""
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
    """Return samples (N,) or (N, 2) float32 in [-1, 1]."""
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
    samples = checked_samples(_to_float(values, name), name)
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


def checked_samples(samples: np.ndarray, name: str) -> np.ndarray:
    """Return finite samples in [-1, 1]."""
    if not np.isfinite(samples).all():
        raise MediaError(f"The sound of {name} holds NaN or infinite values.")
    loudest = float(np.abs(samples).max(initial=0))
    if loudest > LOUDEST:
        raise MediaError(
            f"The samples of {name} reach {loudest:g}, but floats must lie in [-1, 1]: divide them by their full scale "
            "(32768 for 16 bits), or pass them as int16."
        )
    return np.clip(samples, -1, 1) if loudest > 1 else samples


def check_length(samples: int, rate: int, name: str) -> None:
    if samples < MIN_SECONDS * rate:
        raise MediaError(
            f"The sound of {name} lasts {samples / rate:.4f} s ({samples} samples): at least {MIN_SECONDS} s are needed."
        )


def _mixed(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(samples if samples.ndim == 1 else samples.mean(1), np.float32)


def blocks_of(sound: Sound) -> Iterator[np.ndarray]:
    step = max(1, round(BLOCK_SECONDS * sound.rate))
    for start in range(0, len(sound.samples), step):
        yield sound.samples[start : start + step]
