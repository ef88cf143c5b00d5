"""Extract log-mel features of sound, with the same result for a whole file and for pieces of any size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor

from ...errors import MediaError, SuperFaceError
from ..log_mel import LogMelConfig

# Band power is relative to that of a full-scale sine. Power below FLOOR is quieter than a silent room and counts as
# silence. Adding OFFSET and dividing by SPREAD brings speech at usual levels to about zero mean and unit deviation. The
# numbers are fixed because the statistics of a file are not known while it streams.
FLOOR = 1e-8  # -80 dB
OFFSET, SPREAD = 45.0, 20.0  # dB
SILENCE = float(np.float32((10 * np.log10(FLOOR) + OFFSET) / SPREAD))
BLOCK = 4096  # frames analysed at once, so that hours of sound need little memory


class SuperFaceAudioToLipFeatureExtractor(SequenceFeatureExtractor):
    """Extracts normalised log-mel frames from mono sound, by default at 16 kHz and one every 10 ms.

    Frame k is centred at ``k * hop_length`` samples and looks ``window_length / 2`` samples (12.5 ms) ahead; sound before
    the start and after the end is silence. N samples give ``ceil(N / hop_length)`` frames.

    Args:
        feature_size: number of bands.
        sampling_rate: samples a second.
        hop_length, window_length: step and width of the analysis window, in samples.
        min_frequency, max_frequency: lower edge of the lowest and upper edge of the highest band, in Hz.
        padding_value: the value that pads shorter sounds of a batch; that of silence.
    """

    model_input_names = ["input_features", "attention_mask"]  # noqa: RUF012 (transformers reads it as a list)

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        window_length: int = 400,
        min_frequency: float = 60.0,
        max_frequency: float = 7600.0,
        padding_value: float = SILENCE,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.hop_length = hop_length
        self.window_length = window_length
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency

    @classmethod
    def of(cls, config: LogMelConfig) -> SuperFaceAudioToLipFeatureExtractor:
        """Return the extractor of the spectrum that a network's configuration describes."""
        return cls(
            config.num_mel_bins,
            config.sampling_rate,
            config.hop_length,
            config.window_length,
            config.min_frequency,
            config.max_frequency,
        )

    def __call__(
        self,
        audio: np.ndarray | Sequence[float] | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        return_tensors: str = "np",
    ) -> BatchFeature:
        """Extract the features of one sound or of a list of sounds.

        Args:
            audio: float samples in [-1, 1], shape (N,), or a list of such of any lengths.
            sampling_rate: samples a second of ``audio``; give it, so that another rate raises an error.
            return_tensors: ``"np"`` or ``"pt"``.

        Returns:
            ``input_features`` (B, T, feature_size) float32 and ``attention_mask`` (B, T), 1 where a row has sound. Padding
            does not change the frames of the sounds.

        Raises:
            MediaError: another sampling rate, or samples that are empty, not one-dimensional, not finite, or integers.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise MediaError(
                f"The sound is at {sampling_rate} Hz but is needed at {self.sampling_rate} Hz: resample it first."
            )
        sounds = [audio] if _is_one_sound(audio) else list(audio)
        if not sounds:
            raise MediaError("There is no sound in the list: give at least one.")
        features = [self._whole(sound) for sound in sounds]
        return self.pad(BatchFeature({"input_features": features}), return_tensors=return_tensors)

    def stream(self) -> LogMelStream:
        """Return a stream that extracts the same features from a sound that comes in pieces."""
        return LogMelStream(self)

    def log_mel(self, windows: np.ndarray) -> np.ndarray:
        """Map windows of samples (n, window_length) to features (n, feature_size)."""
        window = _window(self.window_length)
        filters = _mel_filters(
            self.feature_size, self.sampling_rate, self.window_length, self.min_frequency, self.max_frequency
        )
        features = np.empty((len(windows), self.feature_size), np.float32)
        for start in range(0, len(windows), BLOCK):
            block = windows[start : start + BLOCK] * window
            spectrum = np.fft.rfft(block, n=_transform_length(self.window_length), axis=1)
            power = spectrum.real**2 + spectrum.imag**2
            level = 10 * np.log10(power.astype(np.float32) @ filters + np.float32(FLOOR))
            features[start : start + BLOCK] = (level + OFFSET) / SPREAD
        return features

    def _whole(self, sound: Any) -> np.ndarray:
        samples = check_samples(sound)
        if len(samples) == 0:
            raise MediaError("The sound is empty: it has no samples.")
        stream = self.stream()
        return np.concatenate((stream.push(samples), stream.flush()))


class LogMelStream:
    """Extracts the features of one sound that comes in pieces of any size; joined they equal those of the whole sound.

    A frame comes out as soon as its window is full, ``window_length / 2`` samples after its time.
    """

    def __init__(self, extractor: SuperFaceAudioToLipFeatureExtractor) -> None:
        self._extractor = extractor
        # The beginning of the next window: at first, the silence before the sound.
        self._pending = np.zeros(extractor.window_length // 2, np.float32)
        self._samples = 0
        self._frames = 0
        self._ended = False

    @property
    def samples(self) -> int:
        """The number of samples so far."""
        return self._samples

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples (N,), N may be 0, and return the frames (n, feature_size) that they complete.

        Raises:
            MediaError: the samples are not one-dimensional, not finite, or integers.
            SuperFaceError: the stream has been flushed.
        """
        if self._ended:
            raise SuperFaceError("This stream of sound has ended: open a new one with stream().")
        samples = check_samples(samples)
        self._samples += len(samples)
        return self._advance(samples)

    def flush(self) -> np.ndarray:
        """End the sound, and return its last frames (n, feature_size). A stream without samples has none."""
        if self._ended:
            raise SuperFaceError("This stream of sound has ended: open a new one with stream().")
        self._ended = True
        missing = -(-self._samples // self._extractor.hop_length) - self._frames
        if missing <= 0:
            return np.empty((0, self._extractor.feature_size), np.float32)
        wanted = (missing - 1) * self._extractor.hop_length + self._extractor.window_length
        return self._advance(np.zeros(wanted - len(self._pending), np.float32))

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        hop, width = self._extractor.hop_length, self._extractor.window_length
        self._pending = np.concatenate((self._pending, samples))
        if len(self._pending) < width:
            return np.empty((0, self._extractor.feature_size), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, width)[::hop]
        features = self._extractor.log_mel(windows)
        self._frames += len(windows)
        self._pending = self._pending[len(windows) * hop :].copy()
        return features


def check_samples(sound: Any) -> np.ndarray:
    """Return the samples (N,) as float32, N may be 0.

    Raises:
        MediaError: they are not one-dimensional, not finite, or integers.
    """
    samples = np.asarray(sound)
    if samples.ndim != 1:
        raise MediaError(f"Sound must be mono, of the shape (samples,), not {samples.shape}: give a list for several.")
    if samples.size and not np.issubdtype(samples.dtype, np.floating):
        raise MediaError(
            f"Samples must be floats in [-1, 1], not {samples.dtype}: divide integers by their full scale."
        )
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise MediaError(
            "The sound holds values that are NaN or infinite: repair the recording or replace them by zeros."
        )
    return samples


def _is_one_sound(audio: Any) -> bool:
    return not isinstance(audio, (list, tuple)) or (len(audio) > 0 and np.ndim(audio[0]) == 0)


def _transform_length(window_length: int) -> int:
    return 1 << (window_length - 1).bit_length()


@lru_cache
def _window(length: int) -> np.ndarray:
    """Return a periodic Hann window (length,), scaled so that a full-scale sine peaks at a power of 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return (window / (window.sum() / 2)).astype(np.float32)


@lru_cache
def _mel_filters(bands: int, rate: int, window_length: int, lowest: float, highest: float) -> np.ndarray:
    """Return triangular filters (bins, bands) of height 1, evenly spaced on the mel scale of O'Shaughnessy."""
    edges = 700 * (10 ** (np.linspace(_mel(lowest), _mel(highest), bands + 2) / 2595) - 1)
    length = _transform_length(window_length)
    bins = np.arange(length // 2 + 1)[:, None] * rate / length
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0, None)
    if not filters.any(axis=0).all():
        raise SuperFaceError(
            f"{bands} bands are too many for windows of {window_length} samples: some would hear nothing."
        )
    return filters.astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))
