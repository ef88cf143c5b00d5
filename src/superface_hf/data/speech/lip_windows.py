"""Pieces of talking mouths with what is said, changed at random, for the lip reader's training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...models.lip_reader.heard_visemes import viseme_track
from ...models.lip_reader.mouth_pictures import HEIGHT, WIDTH, nearest_frames
from ..batch import Batch
from .clips import person_weights
from .read_clips import ReadClip

NOTHING = -100  # the label of a frame that does not count, as cross_entropy knows it


@dataclass(frozen=True)
class LipSampling:
    """How pieces are drawn and changed.

    Attributes:
        frames: length of a piece.
        frame_rate: frames a second.
        person_balance: a person with n clips counts n ** -person_balance for each.
        shift, turn, size: the window is up to this far from where it belongs, in pixels, degrees and as a factor.
        blur: the largest standard deviation, in pixels, of a blur, as of a small or compressed video.
        hidden: the probability that a few frames are hidden.
    """

    frames: int = 64
    frame_rate: float = 25.0
    person_balance: float = 0.6
    shift: float = 3.0
    turn: float = 6.0
    size: float = 1.1
    blur: float = 1.5
    hidden: float = 0.5


@dataclass(eq=False)
class LipBatch(Batch):
    """Pieces of mouths with what they say.

    Attributes:
        mouths: (B, T, 48, 72) in [0, 1].
        visemes: (B, T) int64, indices of ``VISEMES``, or ``NOTHING``.
    """

    mouths: Tensor
    visemes: Tensor


@dataclass(frozen=True, eq=False)
class Labelled:
    """A clip at one frame rate: mouths (T, 48, 72) uint8, found (T,) bool, visemes (T,) int64."""

    mouths: np.ndarray
    found: np.ndarray
    visemes: np.ndarray

    @classmethod
    def of(cls, clip: ReadClip, frame_rate: float, offset: float = 0.0) -> Labelled:
        """Return a clip whose sound is late by ``offset`` seconds."""
        shown = nearest_frames(len(clip.mouths), clip.fps, frame_rate)
        return cls(clip.mouths[shown], clip.found[shown], viseme_track(clip.visemes, len(shown), frame_rate, offset))


class LipWindows(Dataset[LipBatch]):
    """An endless dataset of pieces: piece i is always the same for the same seed.

    Args:
        offsets: seconds by which the sound of each clip, by name, is late.
    """

    collate = staticmethod(LipBatch.collate)

    def __init__(
        self,
        clips: Sequence[ReadClip],
        offsets: Mapping[str, float],
        seed: int = 0,
        sampling: LipSampling | None = None,
    ) -> None:
        self.sampling = sampling or LipSampling()
        self.seed = seed
        rate = self.sampling.frame_rate
        self.labelled = [Labelled.of(clip, rate, offsets.get(clip.name, 0.0)) for clip in clips]
        self.weights = person_weights(clips, self.sampling.person_balance)

    def __getitem__(self, index: int) -> LipBatch:
        rng, sampling = np.random.default_rng((self.seed, index)), self.sampling
        clip = self.labelled[rng.choice(len(self.labelled), p=self.weights)]
        length = min(sampling.frames, len(clip.mouths))
        start = rng.integers(len(clip.mouths) - length + 1)
        mouths = self._changed(clip.mouths[start : start + length], rng)
        visemes = np.where(clip.found, clip.visemes, NOTHING)[start : start + length]
        rest = sampling.frames - length
        mouths, visemes = (
            np.pad(mouths, ((0, rest), (0, 0), (0, 0))),
            np.pad(visemes, (0, rest), constant_values=NOTHING),
        )
        return LipBatch(torch.from_numpy(mouths).float() / 255, torch.from_numpy(visemes))

    def _changed(self, mouths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return mouths (T, 48, 72) uint8 of another camera: mirrored, moved, turned, blurred, noisy, some hidden."""
        sampling = self.sampling
        turn, size = sampling.turn * rng.uniform(-1, 1), sampling.size ** rng.uniform(-1, 1)
        there = np.array(cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, size), np.float64)
        there[:, 2] = there[:, 2] + sampling.shift * rng.uniform(-1, 1, 2)
        mirrored, blur = rng.random() < 0.5, max(0.0, sampling.blur * rng.uniform(-1, 1))
        gamma, noise = 2 ** rng.uniform(-0.6, 0.6), 8 * max(0.0, rng.uniform(-1, 1))
        curve = (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        changed = []
        for mouth in mouths:
            moved = cv2.warpAffine(mouth, there, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
            moved = curve[moved[:, ::-1] if mirrored else moved]
            changed.append(cv2.GaussianBlur(moved, (0, 0), blur) if blur > 0.3 else moved)
        result = np.stack(changed)
        if noise:
            result = (result + rng.normal(0, noise, result.shape)).clip(0, 255).astype(np.uint8)
        if rng.random() < sampling.hidden:
            first = int(rng.integers(len(result)))
            result[first : first + int(rng.integers(1, 5))] = 128
        return result


__all__ = ["NOTHING", "Labelled", "LipBatch", "LipSampling", "LipWindows"]
