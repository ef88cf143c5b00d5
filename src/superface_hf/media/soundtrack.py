"""Encode sound as a track of a video file, in step with the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

from ..errors import MediaError

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_BITS_PER_SECOND = {1: 96_000, 2: 160_000}


class SoundTrack:
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
        """Return the next ``count`` samples, or fewer at the end of the sound."""
        while len(self._ready) < count and (block := next(self._more, None)) is not None:
            self._ready = np.concatenate([self._ready, block])
        taken, self._ready = self._ready[: max(0, count)], self._ready[max(0, count) :]
        return taken

    def flush(self, container: av.container.OutputContainer) -> None:
        if self._done:
            for part in self._resampler.resample(None):
                container.mux(self._stream.encode(part))
        container.mux(self._stream.encode(None))


def sound_blocks(audio: np.ndarray | Iterable[np.ndarray] | None, rate: int | None) -> Iterator[np.ndarray]:
    """Return the blocks of a sound, each (n, 1) or (n, 2). An array is checked at once, blocks as they come."""
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
