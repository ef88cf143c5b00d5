"""Prepare sound for the voice encoder: choose the part that is heard, find the speech in it, compute its mel spectrogram."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from ...media import SoundReader

RATE = 16000  # samples a second
HOP, WINDOW = 160, 400  # samples: frames of 25 ms, every 10 ms
LOUDNESS = -30.0  # dB of full scale to which quiet recordings are amplified
SILENT = 1e-4  # amplitude below which nothing is heard
QUIETER = 30.0  # dB below the loud parts from which there is no speech
PAUSE = 25  # frames; shorter pauses are kept
HEARD_SECONDS = 60  # the seconds of a long recording that are heard, in parts spread over it
PART_SECONDS = 3


def heard_part(reader: SoundReader) -> np.ndarray:
    """Return the part of a sound that is heard, (N,) float32 at 16 kHz: all of a short sound, and a minute of a long
    one, in parts spread over it."""
    seconds = reader.seconds or 0.0
    if seconds <= HEARD_SECONDS:
        return _first(reader.mono(RATE), HEARD_SECONDS * RATE)
    parts = HEARD_SECONDS // PART_SECONDS
    stride, length = seconds * RATE / parts, PART_SECONDS * RATE
    kept, start = [], 0
    for block in reader.mono(RATE):
        places = np.arange(start, start + len(block))
        kept.append(block[places % stride < length])
        start += len(block)
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _first(blocks: Iterable[np.ndarray], samples: int) -> np.ndarray:
    """Return the first samples of a sound that comes in blocks."""
    kept, count = [np.zeros(0, np.float32)], 0
    for block in blocks:
        kept.append(block)
        count += len(block)
        if count >= samples:
            break
    return np.concatenate(kept)[:samples]


def spoken(samples: np.ndarray) -> np.ndarray:
    """Return the parts of a recording (N,) float32 at 16 kHz that are loud enough to be speech, joined and normalised
    in loudness.

    Pauses of up to a quarter of a second stay. A silent recording gives an empty array.
    """
    frames = len(samples) // HOP
    if frames == 0 or np.abs(samples).max() < SILENT:
        return np.zeros(0, np.float32)
    power = np.square(samples[: frames * HOP], dtype=np.float64).reshape(frames, HOP).mean(1)
    level = 10 * np.log10(power + 1e-12)
    loud = level > max(np.percentile(level, 95) - QUIETER, 20 * np.log10(SILENT))
    kept = np.convolve(loud, np.ones(PAUSE))[PAUSE // 2 :][:frames] > 0
    part = samples[: frames * HOP].reshape(frames, HOP)[kept].reshape(-1)
    decibels = 10 * np.log10(float(np.square(part, dtype=np.float64).mean()) + 1e-12)
    return (part * 10 ** (max(0.0, LOUDNESS - decibels) / 20)).astype(np.float32)


def mel_spectrogram(samples: Tensor, bands: int) -> Tensor:
    """Return the power (not its logarithm) on the mel scale of (N,) samples: (frames, bands), a frame every 10 ms."""
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    return spectrum.abs().square().T @ _filters(bands).to(samples.device)


def windows_of(mel: Tensor, frames: int) -> Tensor:
    """Split a spectrogram (T, bands) into windows (W, frames, bands) that overlap by half; a short one is padded with
    silence."""
    if len(mel) < frames:
        mel = torch.nn.functional.pad(mel, (0, 0, 0, frames - len(mel)))
    starts = range(0, len(mel) - frames + 1, frames // 2)
    return torch.stack([mel[start : start + frames] for start in starts])


@lru_cache(maxsize=4)
def _filters(bands: int) -> Tensor:
    """Return Slaney's filters (WINDOW // 2 + 1, bands), which librosa uses and the weights were trained with."""
    filters = mel_filter_bank(WINDOW // 2 + 1, bands, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters).float()
