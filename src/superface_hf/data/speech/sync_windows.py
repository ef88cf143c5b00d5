"""Pieces of speech with the mouth that belongs to them, changed at random, for the sync expert's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...models.audio_to_lip.feature_extraction_audio_to_lip import (
    FLOOR,
    OFFSET,
    SPREAD,
    SuperFaceAudioToLipFeatureExtractor,
)
from ..batch import Batch
from .clips import SpeechClip, person_weights

# A piece is drawn again, this often at most, if too little of its mouth can be believed.
TRIES = 10
BELIEVED = 0.9


@dataclass(frozen=True)
class SyncSampling:
    """How pieces are drawn and changed.

    Attributes:
        frames: length of a piece, at ``frame_rate`` a second.
        frame_rate: of the mouths.
        synthetic: share of the pieces that come from synthetic speech, if there is any.
        person_balance: a person with n clips counts n ** -person_balance for each.
        speed: pieces are played faster or slower by up to this factor.
        mouth_rest: standard deviation of a constant added to each coefficient: mouths at rest differ between people.
        mouth_gain: the mouth moves more or less by up to this factor.
        mouth_noise: standard deviation of the noise on each coefficient.
    """

    frames: int = 150
    frame_rate: float = 50.0
    synthetic: float = 0.3
    person_balance: float = 0.6
    speed: float = 1.15
    mouth_rest: float = 0.4
    mouth_gain: float = 1.3
    mouth_noise: float = 0.08


@dataclass(frozen=True, eq=False)
class Heard:
    """A clip as the expert takes it: features (T, mels), mouth (T', 30) at the sampling's frame rate, believed (T',) bool."""

    features: np.ndarray
    mouth: np.ndarray
    believed: np.ndarray

    @classmethod
    def of(cls, clip: SpeechClip, extractor: SuperFaceAudioToLipFeatureExtractor, frame_rate: float) -> Heard:
        """Return ``clip`` with its sound in step with its picture."""
        features = extractor(clip.samples)["input_features"][0]
        seconds = np.arange(int(len(clip.samples) / extractor.sampling_rate * frame_rate)) / frame_rate
        return cls(features, *clip.mouth_at(seconds))


@dataclass(eq=False)
class SyncBatch(Batch):
    """Pieces of sound with their mouths.

    Attributes:
        input_features: (B, T, mels) log-mel.
        mouth: (B, T', 30).
    """

    input_features: Tensor
    mouth: Tensor


class SyncWindows(Dataset[SyncBatch]):
    """An endless dataset of pieces: piece i is always the same for the same seed."""

    collate = staticmethod(SyncBatch.collate)

    def __init__(
        self,
        clips: Sequence[SpeechClip],
        synthetic: Sequence[SpeechClip],
        extractor: SuperFaceAudioToLipFeatureExtractor,
        seed: int = 0,
        sampling: SyncSampling | None = None,
    ) -> None:
        self.sampling = sampling or SyncSampling()
        self.seed = seed
        self.hops = round(extractor.sampling_rate / extractor.hop_length / self.sampling.frame_rate)
        longest = int(np.ceil(self.sampling.frames * self.sampling.speed)) + 1
        self.pools = []
        for pool in (clips, synthetic):
            pool = [
                clip
                for clip in pool
                if len(clip.samples) / extractor.sampling_rate * self.sampling.frame_rate > longest
            ]
            if pool:
                heard = [Heard.of(clip, extractor, self.sampling.frame_rate) for clip in pool]
                self.pools.append((heard, person_weights(pool, self.sampling.person_balance)))
        if not self.pools:
            raise ValueError(f"No clip is longer than {longest / self.sampling.frame_rate:.1f} s: nothing to train on.")

    def __getitem__(self, index: int) -> SyncBatch:
        rng = np.random.default_rng((self.seed, index))
        synthetic = len(self.pools) > 1 and rng.random() < self.sampling.synthetic
        clips, weights = self.pools[-1 if synthetic else 0]
        for _ in range(TRIES):
            features, mouth, believed = self._piece(clips[rng.choice(len(clips), p=weights)], rng)
            if believed >= BELIEVED:
                break
        features = changed_sound(features, rng)
        mouth = self._changed_mouth(mouth, rng)
        return SyncBatch(torch.from_numpy(features), torch.from_numpy(mouth))

    def _piece(self, clip: Heard, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the features and mouth of a piece at a random speed, and which share of the mouth can be believed."""
        sampling = self.sampling
        speed = sampling.speed ** rng.uniform(-1, 1)
        start = rng.uniform(0, len(clip.mouth) - 1 - sampling.frames * speed)
        frames = start + np.arange(sampling.frames) * speed
        ticks = self.hops * start + np.arange(self.hops * sampling.frames) * speed
        believed = clip.believed[frames.astype(int)].mean()
        return interpolated(clip.features, ticks), interpolated(clip.mouth, frames), float(believed)

    def _changed_mouth(self, mouth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sampling = self.sampling
        gain = sampling.mouth_gain ** rng.uniform(-1, 1)
        rest = sampling.mouth_rest * rng.normal(size=mouth.shape[1])
        noise = sampling.mouth_noise * rng.normal(size=mouth.shape)
        return (mouth * gain + rest + noise).astype(np.float32)


def interpolated(rows: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the rows (T, C) at fractional ``position`` (K,), linear in between, the ends held: (K, C) float32."""
    position = np.clip(position, 0, len(rows) - 1)
    before = position.astype(int)
    after = np.minimum(before + 1, len(rows) - 1)
    share = (position - before)[:, None].astype(np.float32)
    return (rows[before] * (1 - share) + rows[after] * share).astype(np.float32)


def changed_sound(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return another recording of the same speech: log-mel features (T, mels) of it louder or softer, through another
    microphone, in an echoing room, with noise, by a longer or shorter throat.

    Made on the features, as spectra add and decay there too: far cheaper than on samples.
    """
    bands = features.shape[1]
    power = 10 ** ((features * SPREAD - OFFSET) / 10)  # against a full-scale sine
    stretch = 1.08 ** rng.uniform(-1, 1)
    power = interpolated(power.T, np.arange(bands) * stretch).T
    loud = float(np.percentile(power.sum(1), 90))
    if rng.random() < 0.4:
        decay = 10 ** (
            -60 / 10 / (rng.uniform(0.15, 0.6) * 100)
        )  # a frame's share of the last, for that time to -60 dB
        power = echoing(power, decay, rng.uniform(0.02, 0.2))
    if rng.random() < 0.6:
        colour = np.exp(np.interp(np.arange(bands), np.linspace(0, bands - 1, 5), rng.normal(0, 1.2, size=5)))
        noise = colour / colour.sum() * rng.exponential(size=power.shape)
        power = power + noise * loud * 10 ** (-rng.uniform(5, 35) / 10)
    microphone = np.interp(np.arange(bands), np.linspace(0, bands - 1, 6), rng.normal(0, 3, size=6))  # dB
    level = 10 * np.log10(power + FLOOR) + microphone + rng.uniform(-15, 10)
    level = 10 * np.log10(10 ** (level / 10) + FLOOR)
    return ((level + OFFSET) / SPREAD).astype(np.float32)


def echoing(power: np.ndarray, decay: float, amount: float) -> np.ndarray:
    """Return the power (T, mels) with the tail of a room: each frame leaves ``amount`` of itself, which falls by ``decay`` a
    frame."""
    tail = np.zeros(power.shape[1])
    result = np.empty_like(power)
    for index, frame in enumerate(power):
        tail = decay * tail
        result[index] = frame + tail
        tail = tail + amount * frame
    return result
