"""The audio features of the motion diffusion: for each frame four hops of log-mel, and audio-to-lip's mouth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...motion.arkit import ArkitMaps
from ..audio_to_lip.feature_extraction_audio_to_lip import SILENCE

if TYPE_CHECKING:
    from ..audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .motion_statistics import MotionStatistics

MOUTH = ArkitMaps.default().sizes["mouth"]  # the last columns of the features


class SpeechFeatures:
    """Extracts features of a sound that comes in pieces of any size: rows at ``fps``, as soon as possible.

    Args:
        audio_to_lip: predicts the mouth and extracts the log-mel spectrum.
        fps: rows a second; a row must last a whole number of hops.
    """

    def __init__(self, audio_to_lip: SuperFaceAudioToLipModel, fps: float) -> None:
        config = audio_to_lip.config
        self.hops = round(config.sampling_rate / config.hop_length / fps)
        self._lips = audio_to_lip.stream(fps)
        self._mel = np.empty((0, config.num_mel_bins), np.float32)
        self._mouth = np.empty((0, config.mouth_size), np.float32)
        self._given = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples (N,), and return the rows (n, hops * mels + mouth_size) that are known now; the mouth is not
        scaled."""
        self._mouth = np.concatenate([self._mouth, self._lips.push(samples)])
        self._mel = np.concatenate([self._mel, self._lips.heard])
        return self._take(min(len(self._mel) // self.hops, len(self._mouth)))

    def flush(self) -> np.ndarray:
        """End the sound, and return the remaining rows up to ``round(seconds * fps)``, at least one in all."""
        rest = self._lips.frames - self._given
        self._mouth = np.concatenate([self._mouth, self._lips.flush()])
        self._mel = np.concatenate([self._mel, self._lips.heard])
        lacking = max(0, rest * self.hops - len(self._mel))
        self._mel = np.pad(self._mel, ((0, lacking), (0, 0)), constant_values=SILENCE)
        return self._take(rest)

    def _take(self, rows: int) -> np.ndarray:
        mel, mouth = self._mel[: rows * self.hops], self._mouth[:rows]
        self._mel, self._mouth, self._given = self._mel[rows * self.hops :], self._mouth[rows:], self._given + rows
        return np.concatenate([mel.reshape(rows, self.hops * mel.shape[1]), mouth], axis=1)


def scaled_condition(rows: np.ndarray, statistics: MotionStatistics) -> np.ndarray:
    """Return the features (T, mels + M) for the networks, with the mouth scaled as motion is."""
    mouth = torch.from_numpy(np.ascontiguousarray(rows[:, -MOUTH:]))
    return np.concatenate([rows[:, :-MOUTH], statistics.scale_mouth(mouth).numpy()], axis=1)


def empty_condition(frames: int, size: int) -> np.ndarray:
    """Return scaled features (frames, size) of silence, with the mean mouth."""
    rows = np.zeros((frames, size), np.float32)
    rows[:, :-MOUTH] = SILENCE
    return rows
