"""Windows of tracked, speaking people for the motion diffusion: smoothed, relative to their rest, in step with their sound."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ...data.batch import Batch
from ...data.caching import digest
from ...data.speech.clips import MAX_TURN, REST_SHARE, person_at
from ...data.speech.tracked_clips import SAMPLING_RATE, TrackedClip, load_tracked
from ...data.speech.visemes import closed_mouth
from ...drivers.loudness import LoudnessNormalizer, speech_level
from ...face_model.linear import FaceModel
from ...face_model.lips import mouth_opening
from ...models.audio_to_lip.feature_extraction_audio_to_lip import SILENCE, SPREAD
from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ...models.embedded import embedded_audio_to_lip
from ...models.speech_to_motion.conditioning import MOUTH, SpeechFeatures, empty_condition, scaled_condition
from ...models.speech_to_motion.motion_statistics import MIN_SPREAD, STYLE_LIMIT, MotionStatistics, style_code
from ...models.speech_to_motion.motion_vector import mirror_matrix, region_slices, rest_frame, to_vectors
from ...motion import Motion
from ...utils.files import write_arrays
from ..audio_to_lip.validation import correlation

FPS = 25.0
SHORTEST = 40  # frames of a stretch without cut or gap
LAGS = range(-7, 6)  # frames by which a clip's picture may be late
MIN_AGREEMENT = 0.25  # correlation of the mouth with what is heard, after the lag
HOLD_OUT = 8  # about every eighth person is held out
GAIN = 3.0  # dB, standard deviation of how much louder or quieter a window is heard
BALANCE = 0.7  # clips of a person who has n of them weigh n ** -balance


@dataclass(frozen=True, eq=False)
class MotionClip:
    """A stretch of a clip.

    Attributes:
        person, name: who is seen, and in which clip.
        held_out: whether the person is in no training of the diffusion.
        validation: whether the person is in no training at all, audio-to-lip's included.
        vectors: (T, 66) float32 rows of ``motion_vector`` at 25 fps, smoothed.
        condition: (T, 286) float32 what is heard, in step; the mouth not scaled.
        loudness: (T,) decibels.
        raw: (T, 66) the same rows before smoothing.
    """

    person: str
    name: str
    held_out: bool
    validation: bool
    vectors: np.ndarray
    condition: np.ndarray
    loudness: np.ndarray
    raw: np.ndarray


def load_motion_clips(data: Path, cache: Path) -> list[MotionClip]:
    """The stretches of all tracked clips; what was made of each clip is kept beside it."""
    model = embedded_audio_to_lip()
    weights = digest(*(parameter.detach().numpy() for parameter in model.parameters()))
    found = []
    for tracked in tqdm(list(load_tracked(data, cache)), desc="fitting"):
        facts = digest(tracked.landmarks, tracked.shots, tracked.fps, tracked.samples, tracked.split, weights)
        stored = cache / "fitted" / f"{tracked.name}_{facts}.npz"
        if not stored.exists():
            _store(motion_clips(tracked, model), stored)
        found += _restore(stored)
    return found


def _store(clips: list[MotionClip], path: Path) -> None:
    names = [field.name for field in fields(MotionClip)]
    write_arrays(path, {f"{number}.{name}": getattr(clip, name) for number, clip in enumerate(clips) for name in names})


def _restore(path: Path) -> list[MotionClip]:
    with np.load(path) as data:
        entries: dict[int, dict[str, Any]] = {}
        for key in data.files:
            number, name = key.split(".")
            # Names and truths are arrays without a dimension.
            entries.setdefault(int(number), {})[name] = data[key] if data[key].ndim else data[key].item()
        return [MotionClip(**entry) for entry in entries.values()]


def motion_clips(clip: TrackedClip, model: SuperFaceAudioToLipModel) -> list[MotionClip]:
    """The stretches of one clip that can be believed and are in step with their sound; none if nothing is."""
    person = person_at(clip.repo, clip.path)
    held_out = clip.split == "val" or zlib.crc32(person.encode()) % HOLD_OUT == 2
    stretches = [_fitted(clip, *span) for span in _spans(clip.shots, clip.fps)]
    if not stretches:
        return []
    heard, loudness = _heard(clip.samples, model)
    expected = mouth_opening(heard[:, -model.config.mouth_size :])
    lag, agreement = _in_step([(start, mouth_opening(_mouth(smooth))) for start, smooth, _ in stretches], expected)
    if agreement < MIN_AGREEMENT and clip.split != "val":
        return []
    found = []
    for start, smooth, raw in stretches:
        moments = start + np.arange(len(smooth)) + lag
        run = _longest((moments >= 0) & (moments < len(heard)) & (np.abs(raw.rotation).max(1) < MAX_TURN))
        if run.stop - run.start < SHORTEST:
            continue
        smooth, raw, kept = smooth[run], raw[run], moments[run]
        rest = replace(rest_frame(smooth), mouth=_mouth_rest(smooth)[None])
        rows = [to_vectors(motion, rest) for motion in (smooth, raw)]
        for row in rows:
            row[:, region_slices()["mouth"]] += closed_mouth()
        found.append(
            MotionClip(person, clip.name, held_out, clip.split == "val", rows[0], heard[kept], loudness[kept], rows[1])
        )
    return found


def _longest(inside: np.ndarray) -> slice:
    """The longest run of True (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]]).astype(int)))
    runs = edges.reshape(-1, 2)
    return slice(*max(runs.tolist(), key=lambda run: run[1] - run[0], default=(0, 0)))


def _spans(shots: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """First and last-plus-one frames of stretches of one shot in which the face is always seen."""
    edges = np.flatnonzero(np.diff(shots)) + 1
    parts = np.split(np.arange(len(shots)), edges)
    return [(part[0], part[-1] + 1) for part in parts if shots[part[0]] >= 0 and len(part) >= SHORTEST * fps / FPS]


def _fitted(clip: TrackedClip, start: int, stop: int) -> tuple[int, Motion, Motion]:
    """When a stretch starts (frames of 25 fps), its smoothed motion, and its motion as it was tracked."""
    _, motion = FaceModel.default().fit(clip.landmarks[start:stop], clip.fps)
    return round(start * FPS / clip.fps), motion.smooth().resample(FPS), motion.resample(FPS)


def _heard(samples: np.ndarray, model: SuperFaceAudioToLipModel) -> tuple[np.ndarray, np.ndarray]:
    """(T, 286) features at one loudness, and (T,) decibels."""
    levelled = LoudnessNormalizer(SAMPLING_RATE, speech_level([samples], SAMPLING_RATE)).push(samples)
    features = SpeechFeatures(model, FPS)
    rows = np.concatenate([features.push(levelled), features.flush()])
    step = round(SAMPLING_RATE / FPS)
    padded = np.pad(levelled, (0, max(0, len(rows) * step - len(levelled))))[: len(rows) * step]
    energy = np.square(padded.reshape(len(rows), step), dtype=np.float64).mean(1)
    return rows, (10 * np.log10(energy + 1e-9)).astype(np.float32)


def _mouth(motion: Motion) -> np.ndarray:
    return motion.mouth - _mouth_rest(motion) + closed_mouth()


def _mouth_rest(motion: Motion) -> np.ndarray:
    """(M,) this person's closed mouth: the mean of the least open frames."""
    least = np.argsort(mouth_opening(motion.mouth))[: max(3, round(REST_SHARE * len(motion)))]
    return motion.mouth[least].mean(0)


def _in_step(openings: Sequence[tuple[int, np.ndarray]], expected: np.ndarray) -> tuple[int, float]:
    """Finds by how many frames the picture is early against its sound, and the correlation at that lag."""
    scores = []
    for lag in LAGS:
        pairs = []
        for start, opening in openings:
            moments = start + np.arange(len(opening)) + lag
            good = (moments >= 0) & (moments < len(expected))
            pairs.append((opening[good], expected[moments[good]]))
        seen, heard = (np.concatenate(side) for side in zip(*pairs, strict=True))
        scores.append(correlation(seen, heard))
    best = int(np.argmax(scores))
    return LAGS[best], scores[best]


def fit_statistics(clips: Sequence[MotionClip]) -> MotionStatistics:
    """Scales and styles of the people in ``clips``, each counting the same."""
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
    """Fits the distribution of people's styles in ``clips``, each person counting the same, for ``drawn_style``."""
    codes = np.stack([style_code(clip.vectors) for clip in clips])
    scaled = (codes - statistics.style_mean.numpy()) / statistics.style_spread.numpy()
    counts = _equally(clips)
    middle = counts @ scaled
    covariance = (scaled - middle).T @ (counts[:, None] * (scaled - middle))
    factor = np.linalg.cholesky(covariance + MIN_SPREAD * np.eye(len(covariance)))
    statistics.style_middle.copy_(torch.from_numpy(middle))
    statistics.style_factor.copy_(torch.from_numpy(factor))


def _equally(clips: Sequence[MotionClip]) -> np.ndarray:
    """Weights of clips under which all people count the same; they sum to 1."""
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
    """Windows without end: window i is always the same for the same seed, whenever it is asked for."""

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
