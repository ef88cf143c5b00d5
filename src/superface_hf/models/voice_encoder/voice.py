"""From sound to what the voice encoder hears: where somebody speaks, and its mel spectrogram."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

RATE = 16000  # samples a second
HOP, WINDOW = 160, 400  # samples: frames of 25 ms, every 10 ms
LOUDNESS = -30.0  # dB of full scale that quiet recordings are brought to
SILENT = 1e-4  # amplitude below which nothing is heard
QUIETER = 30.0  # dB below the loud parts: where nobody speaks
PAUSE = 25  # frames that a pause may last and be kept


def spoken(samples: np.ndarray) -> np.ndarray:
    """The parts of a recording (N,) float32 at 16 kHz that are loud enough to be speech, joined, at one loudness.

    Pauses of up to a quarter of a second stay. A silent recording gives nothing.
    """
    frames = len(samples) // HOP
    if frames == 0 or np.abs(samples).max() < SILENT:
        return np.zeros(0, np.float32)
    power = np.square(samples[: frames * HOP], dtype=np.float64).reshape(frames, HOP).mean(1)
    level = 10 * np.log10(power + 1e-12)
    loud = level > max(np.percentile(level, 95) - QUIETER, 20 * np.log10(SILENT))
    kept = np.convolve(loud, np.ones(PAUSE), "same") > 0
    part = samples[: frames * HOP].reshape(frames, HOP)[kept].reshape(-1)
    decibels = 10 * np.log10(float(np.square(part, dtype=np.float64).mean()) + 1e-12)
    return (part * 10 ** (max(0.0, LOUDNESS - decibels) / 20)).astype(np.float32)


def mel_spectrogram(samples: Tensor, bands: int) -> Tensor:
    """Power on the mel scale, not its logarithm: (N,) -> (frames, bands), a frame every 10 ms."""
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    return spectrum.abs().square().T @ _filters(bands).to(samples.device)


def windows_of(mel: Tensor, frames: int) -> Tensor:
    """A spectrogram (T, bands) as windows (W, frames, bands) that overlap by half; a short one is filled with silence."""
    if len(mel) < frames:
        mel = torch.nn.functional.pad(mel, (0, 0, 0, frames - len(mel)))
    starts = range(0, len(mel) - frames + 1, frames // 2)
    return torch.stack([mel[start : start + frames] for start in starts])


@lru_cache(maxsize=4)
def _filters(bands: int) -> Tensor:
    """(WINDOW // 2 + 1, bands), Slaney's: what librosa takes, and so what the weights were trained with."""
    filters = mel_filter_bank(WINDOW // 2 + 1, bands, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters).float()
