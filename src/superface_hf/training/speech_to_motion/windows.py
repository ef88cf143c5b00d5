"""Windows of motion and sound that the motion diffusion learns from, and the scales and styles of their people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...data.batch import Batch
from ...models.audio_to_lip.feature_extraction_audio_to_lip import SILENCE, SPREAD
from ...models.speech_to_motion.conditioning import MOUTH, empty_condition, scaled_condition
from ...models.speech_to_motion.motion_statistics import MIN_SPREAD, STYLE_LIMIT, MotionStatistics, style_code
from ...models.speech_to_motion.motion_vector import mirror_matrix, region_slices
from .clips import MotionClip

GAIN = 3.0  # dB, standard deviation of how much louder or quieter a window is heard
BALANCE = 0.7  # clips of a person who has n of them weigh n ** -balance


def fit_statistics(clips: Sequence[MotionClip]) -> MotionStatistics:
    """Fit the scales and styles of the people in ``clips``, each counting the same."""
    people = Counter(clip.person for clip in clips)
    weights = np.concatenate(
        [np.full(len(clip.vectors), 1 / people[clip.person] / len(clip.vectors)) for clip in clips]
    )
    weights /= weights.sum()
    rows = np.concatenate([clip.vectors for clip in clips])
    rows = np.concatenate([rows, rows @ mirror_matrix()])
    weights = np.concatenate([weights, weights]) / 2
    mean = weights @ rows
    spread = np.maximum(np.sqrt(weights @ np.square(rows - mean)), MIN_SPREAD)
    codes = np.stack([style_code(clip.vectors) for clip in clips])
    counts = _equally(clips)
    style_mean = counts @ codes
    statistics = MotionStatistics(motion_size=rows.shape[1])
    statistics.mean.copy_(torch.from_numpy(mean))
    statistics.spread.copy_(torch.from_numpy(spread))
    statistics.style_mean.copy_(torch.from_numpy(style_mean))
    style_spread = np.maximum(np.sqrt(counts @ np.square(codes - style_mean)), MIN_SPREAD)
    statistics.style_spread.copy_(torch.from_numpy(style_spread))
    fit_styles(statistics, clips)
    return statistics


def fit_styles(statistics: MotionStatistics, clips: Sequence[MotionClip]) -> None:
    """Fit the distribution of people's styles in ``clips``, each person counting the same, for ``drawn_style``."""
    codes = np.stack([style_code(clip.vectors) for clip in clips])
    scaled = (codes - statistics.style_mean.numpy()) / statistics.style_spread.numpy()
    counts = _equally(clips)
    middle = counts @ scaled
    covariance = (scaled - middle).T @ (counts[:, None] * (scaled - middle))
    factor = np.linalg.cholesky(covariance + MIN_SPREAD * np.eye(len(covariance)))
    statistics.style_middle.copy_(torch.from_numpy(middle))
    statistics.style_factor.copy_(torch.from_numpy(factor))


def _equally(clips: Sequence[MotionClip]) -> np.ndarray:
    """Return the weights of clips under which all people count the same; they sum to 1."""
    people = Counter(clip.person for clip in clips)
    counts = np.array([1 / people[clip.person] for clip in clips])
    return counts / counts.sum()


@dataclass(eq=False)
class MotionBatch(Batch):
    """Windows of motion: frames that are known, and after them the frames to predict.

    Attributes:
        motion: (B, known + frames, 66) scaled.
        valid: (B, known + frames) 1 where the clip has that frame.
        known_given: (B,) bool, whether there are frames before.
        condition: (B, known + frames, 286) what is heard, scaled.
        style: (B, 8) scaled.
    """

    motion: Tensor
    valid: Tensor
    known_given: Tensor
    condition: Tensor
    style: Tensor


class MotionWindows(Dataset[MotionBatch]):
    """An endless dataset of windows: window i is always the same for the same seed."""

    collate = staticmethod(MotionBatch.collate)

    def __init__(
        self,
        clips: Sequence[MotionClip],
        statistics: MotionStatistics,
        seed: int,
        frames: int = 75,
        known_frames: int = 12,
        start_share: float = 0.2,
    ) -> None:
        self.statistics, self.seed = statistics, seed
        self.frames, self.known_frames, self.start_share = frames, known_frames, start_share
        people = Counter(clip.person for clip in clips)
        weights = np.array([np.sqrt(len(clip.vectors)) * people[clip.person] ** -BALANCE for clip in clips])
        self.weights = weights / weights.sum()
        # As they are, and mirrored: scaled motion, what is heard, style.
        self.views = [[self._view(clip, mirror) for mirror in (False, True)] for clip in clips]

    def __getitem__(self, index: int) -> MotionBatch:
        rng = np.random.default_rng((self.seed, index))
        motion, heard, style = self.views[int(rng.choice(len(self.views), p=self.weights))][int(rng.random() < 0.5)]
        whole, before = self.known_frames + self.frames, self.known_frames
        spare = len(motion) - whole
        given = spare >= 0 and rng.random() > self.start_share
        # A window whose past is unknown may begin anywhere; what lies beyond the end of a short clip is not counted.
        latest = spare if given else max(0, len(motion) - self.frames)
        start = int(rng.integers(0, latest + 1)) + (before if given else 0)
        first, stop = max(0, start - before), min(len(motion), start + self.frames)
        part = slice(before - (start - first), before + stop - start)
        rows, condition = np.zeros((whole, motion.shape[1]), np.float32), empty_condition(whole, heard.shape[1])
        rows[part], condition[part] = motion[first:stop], heard[first:stop]
        mel = condition[:, :-MOUTH]
        np.maximum(mel + rng.normal(0, GAIN / SPREAD), SILENCE, out=mel)
        valid = np.zeros(whole, np.float32)
        valid[part] = 1
        return MotionBatch(
            torch.from_numpy(rows),
            torch.from_numpy(valid),
            torch.tensor(bool(given)),
            torch.from_numpy(condition),
            style,
        )

    def _view(self, clip: MotionClip, mirror: bool) -> tuple[np.ndarray, np.ndarray, Tensor]:
        rows, mouth = clip.vectors, clip.condition[:, -MOUTH:]
        if mirror:
            part = region_slices()["mouth"]
            rows, mouth = rows @ mirror_matrix(), mouth @ mirror_matrix()[part, part]
        statistics = self.statistics
        heard = scaled_condition(np.concatenate([clip.condition[:, :-MOUTH], mouth], axis=1), statistics)
        code = torch.from_numpy(style_code(rows))
        style = ((code - statistics.style_mean) / statistics.style_spread).clamp(-STYLE_LIMIT, STYLE_LIMIT)
        return statistics.scale(torch.from_numpy(rows)).numpy(), heard, style
