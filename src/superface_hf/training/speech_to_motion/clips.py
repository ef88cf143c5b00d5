"""Stretches of tracked, speaking people: smoothed, relative to their rest, in step with their sound."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...data.caching import digest
from ...data.speech.clips import MAX_TURN, REST_SHARE, person_at
from ...data.speech.tracked_clips import SAMPLING_RATE, TrackedClip, load_tracked
from ...data.speech.visemes import closed_mouth
from ...drivers.loudness import LoudnessNormalizer, speech_level
from ...face_model.linear import FaceModel
from ...face_model.lips import mouth_opening
from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ...models.embedded import embedded_audio_to_lip
from ...models.speech_to_motion.conditioning import SpeechFeatures
from ...models.speech_to_motion.motion_vector import region_slices, rest_frame, to_vectors
from ...motion import Motion
from ...utils.files import write_arrays
from ..audio_to_lip.validation import correlation

FPS = 25.0
SHORTEST = 40  # frames of a stretch without cut or gap
LAGS = range(-7, 6)  # frames by which a clip's picture may be late
MIN_AGREEMENT = 0.25  # correlation of the mouth with what is heard, after the lag
HOLD_OUT = 8  # about every eighth person is held out


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
    """Return the stretches of all tracked clips; what was made of each clip is kept beside it."""
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
    """Return the stretches of one clip that can be believed and are in step with their sound; none if nothing is."""
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
    """Return the longest run of True (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]]).astype(int)))
    runs = edges.reshape(-1, 2)
    return slice(*max(runs.tolist(), key=lambda run: run[1] - run[0], default=(0, 0)))


def _spans(shots: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """Return the first and last-plus-one frames of stretches of one shot in which the face is always seen."""
    edges = np.flatnonzero(np.diff(shots)) + 1
    parts = np.split(np.arange(len(shots)), edges)
    return [(part[0], part[-1] + 1) for part in parts if shots[part[0]] >= 0 and len(part) >= SHORTEST * fps / FPS]


def _fitted(clip: TrackedClip, start: int, stop: int) -> tuple[int, Motion, Motion]:
    """Return a stretch's start (frames of 25 fps), its smoothed motion, and its motion as it was tracked."""
    _, motion = FaceModel.default().fit(clip.landmarks[start:stop], clip.fps)
    return round(start * FPS / clip.fps), motion.smooth().resample(FPS), motion.resample(FPS)


def _heard(samples: np.ndarray, model: SuperFaceAudioToLipModel) -> tuple[np.ndarray, np.ndarray]:
    """Return what is heard: (T, 286) features at one loudness, and (T,) decibels."""
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
    """Return this person's closed mouth (M,): the mean of the least open frames."""
    least = np.argsort(mouth_opening(motion.mouth))[: max(3, round(REST_SHARE * len(motion)))]
    return motion.mouth[least].mean(0)


def _in_step(openings: Sequence[tuple[int, np.ndarray]], expected: np.ndarray) -> tuple[int, float]:
    """Find by how many frames the picture is early against its sound, and the correlation at that lag."""
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
