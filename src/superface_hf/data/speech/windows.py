"""Windows of sound with their mouths: synthetic speech, real speech, and sound without speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...models.audio_to_lip.feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor
from ..batch import Batch
from .augment import SAMPLING_RATE, SoundAugment, hiss, hum, tones
from .clips import SpeechClip, person_weights
from .feature_augment import FeatureAugment
from .synthetic_speech import FRAME_RATE, Utterance
from .visemes import closed_mouth

# Seconds at a window's edges where no error is counted, if the window is cut out of speech: what came before is not heard.
CUT_START, CUT_END = 0.3, 0.2


@dataclass(frozen=True)
class SpeechSampling:
    """How windows are drawn.

    Attributes:
        seconds: length of a window.
        real, quiet: share of windows from real clips, and of those without any speech, where the mouth stays closed; the
            others are synthetic speech. Without real clips, synthetic speech takes their share.
        person_balance: clips of a person who has n of them weigh n ** -person_balance.
        augment, augment_features: what is done to the sound, and to its features.
    """

    seconds: float = 4.0
    real: float = 0.65
    quiet: float = 0.05
    person_balance: float = 0.7
    augment: SoundAugment = field(default_factory=SoundAugment)
    augment_features: FeatureAugment = field(default_factory=FeatureAugment)


@dataclass(eq=False)
class SpeechBatch(Batch):
    """Windows of sound with their mouths.

    Attributes:
        input_features: (B, T, mels) log-mel.
        mouth: (B, F, 30) at ``FRAME_RATE``.
        weight: (B, F) how much each frame's error counts.
    """

    input_features: Tensor
    mouth: Tensor
    weight: Tensor


class SpeechWindows(Dataset[SpeechBatch]):
    """An endless dataset of windows: window i is always the same for the same seed."""

    collate = staticmethod(SpeechBatch.collate)

    def __init__(
        self,
        extractor: SuperFaceAudioToLipFeatureExtractor,
        seed: int,
        sampling: SpeechSampling,
        spoken: Sequence[Utterance] = (),
        clips: Sequence[SpeechClip] = (),
    ) -> None:
        self.extractor, self.sampling, self.seed = extractor, sampling, seed
        self.spoken, self.clips = spoken, clips
        self.clip_weights = person_weights(clips, sampling.person_balance) if clips else np.zeros(0)
        self.spoken_weights = np.array([said.seconds for said in spoken])
        self.spoken_weights /= max(self.spoken_weights.sum(), 1e-9)

    def __getitem__(self, index: int) -> SpeechBatch:
        rng = np.random.default_rng((self.seed, index))
        kind = rng.random()
        if kind < self.sampling.quiet:
            samples, mouth, weight = self._quiet(rng)
        elif self.clips and (kind < self.sampling.quiet + self.sampling.real or not self.spoken):
            clip = self.clips[int(rng.choice(len(self.clips), p=self.clip_weights))]
            samples, mouth, weight = self._cut(clip.samples, clip, rng)
        else:
            said = self.spoken[int(rng.choice(len(self.spoken), p=self.spoken_weights))]
            samples, mouth, weight = self._cut(said.samples, said, rng)
        features = np.asarray(self.extractor(samples, SAMPLING_RATE)["input_features"][0], np.float32)
        if kind >= self.sampling.quiet:
            features = self.sampling.augment_features(features, rng)
        return SpeechBatch(
            torch.from_numpy(features),
            torch.from_numpy(mouth.astype(np.float32)),
            torch.from_numpy(weight.astype(np.float32)),
        )

    def _cut(
        self, sound: np.ndarray, source: SpeechClip | Utterance, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the samples, mouth and weight of a window somewhere in ``sound``, faster or slower than it was."""
        seconds, speed = self.sampling.seconds, self.sampling.augment.draw_speed(rng)
        spare = len(sound) / SAMPLING_RATE - seconds * speed
        # Half a second beyond both ends, so that starting and ending are seen too.
        start = rng.uniform(min(-0.5, spare), max(0.0, spare) + 0.5)
        wanted = (start + np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE * speed) * SAMPLING_RATE
        samples = np.interp(wanted, np.arange(len(sound)), sound, left=0.0, right=0.0).astype(np.float32)
        times = start + np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE * speed
        mouth, weight = mouth_at(source, times)
        if start > 0:
            weight[: round(CUT_START * FRAME_RATE)] = 0
        if start + seconds * speed < len(sound) / SAMPLING_RATE:
            weight[-round(CUT_END * FRAME_RATE) :] = 0
        return self.sampling.augment(samples, rng), mouth, weight

    def _quiet(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        length, frames = (round(self.sampling.seconds * rate) for rate in (SAMPLING_RATE, FRAME_RATE))
        kind = rng.random()
        if kind < 0.25:
            samples = np.zeros(length, np.float32)
        else:
            noise = (hiss if kind < 0.6 else tones if kind < 0.85 else hum)(length, rng)
            samples = np.clip(noise * 10 ** (rng.uniform(-70, -18) / 20), -1, 1).astype(np.float32)
        return samples, np.repeat(closed_mouth()[None], frames, axis=0), np.ones(frames)


def mouth_at(source: SpeechClip | Utterance, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mouth (K, 30) at ``seconds`` (K,) of the sound, and how much each frame counts (K,)."""
    if isinstance(source, SpeechClip):
        mouth, found = source.mouth_at(seconds)
        return mouth, found.astype(np.float64)
    position = np.clip(seconds * FRAME_RATE, 0, len(source.mouth) - 1)
    before = position.astype(int)
    after = np.minimum(before + 1, len(source.mouth) - 1)
    share = (position - before)[:, None]
    return source.mouth[before] * (1 - share) + source.mouth[after] * share, np.ones(len(seconds))
