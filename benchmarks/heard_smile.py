"""Measure how well a voice tells whether its speaker smiles: what an emotion that is heard would have to be certain of.

    python -m superface_hf.data.speech.tracked_clips $SUPERFACE_DATA -o .cache/speech_to_motion
    python benchmarks/heard_smile.py $SUPERFACE_DATA .cache/speech_to_motion

From pitch, level, spectral balance and pace of a clip, ridge regression tells its mean smile (ARKit score), for people that it
was not fitted to. Beside the correlation stands what chance gives when people's smiles are exchanged.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from superface_hf.data.speech.clips import person_at
from superface_hf.data.speech.tracked_clips import SAMPLING_RATE, load_tracked
from superface_hf.face_model.linear import FaceModel
from superface_hf.motion.arkit import arkit_index
from superface_hf.training.portraits.voices import ridge

FRAME, HOP, LOWEST, HIGHEST = 1024, 256, 70, 400  # samples; Hz of a voice's pitch
BANDS = (0, 500, 1000, 2000, 4000, 8000)  # Hz
RIDGE, FOLDS, EXCHANGES, MOST = 0.05, 20, 60, 0.6
Floats = NDArray[np.float64]


def prosody(samples: np.ndarray) -> Floats:
    """Return numbers that describe how somebody speaks, not what they say."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.hanning(FRAME)
    level = 10 * np.log10((frames**2).mean(1) + 1e-9)
    power = np.abs(np.fft.rfft(frames, 2 * FRAME)) ** 2
    echo = np.fft.irfft(power)[:, :FRAME]
    echo /= echo[:, :1] + 1e-9
    first = SAMPLING_RATE // HIGHEST
    period = echo[:, first : SAMPLING_RATE // LOWEST].argmax(1) + first
    harmonic = np.take_along_axis(echo, period[:, None], 1)[:, 0]
    voiced = (harmonic > 0.45) & (level > np.percentile(level, 90) - 25)
    if voiced.sum() < 10:
        voiced = level > np.percentile(level, 60)
    pitch = np.log2(SAMPLING_RATE / period[voiced])
    steps = np.abs(np.diff(pitch))
    hertz = np.fft.rfftfreq(2 * FRAME, 1 / SAMPLING_RATE)
    inside = [(hertz >= low) & (hertz < high) for low, high in pairwise(BANDS)]
    bands = np.log(np.stack([power[voiced][:, band].mean(1) for band in inside], 1) + 1e-9)
    bands -= bands.mean(1, keepdims=True)
    peaks = np.diff(np.sign(np.diff(np.convolve(level, np.ones(7) / 7, "same")))) < 0
    spread = np.percentile(pitch, 95) - np.median(pitch)
    single = [np.median(pitch), pitch.std(), spread, steps[steps < 0.3].mean(), level[voiced].std(), level.std()]
    return np.array([*single, voiced.mean(), harmonic[voiced].mean(), peaks.mean(), *bands.mean(0), *bands.std(0)])


def told(features: Floats, smiles: Floats, people: np.ndarray, weights: Floats, random: np.random.Generator) -> Floats:
    """Return what the features tell of each smile, by regressions that do not know the person."""
    guesses = np.zeros(len(smiles))
    for fold in np.array_split(random.permutation(np.unique(people)), FOLDS):
        other = np.isin(people, fold)
        scaled = torch.from_numpy((features - features[~other].mean(0)) / (features[~other].std(0) + 1e-6))
        known = scaled[~other], torch.from_numpy(smiles[~other]), torch.from_numpy(weights[~other])
        slope, bias = ridge(*known, RIDGE)
        guesses[other] = (scaled[other] @ slope + bias).numpy()
    return guesses


def correlation(a: Floats, b: Floats, weights: Floats) -> float:
    covariance = np.cov(a, b, aweights=weights)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    options = parser.parse_args()
    model = FaceModel.default()
    both = [arkit_index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    rows = []
    for clip in tqdm(load_tracked(options.data, options.cache)):
        found = clip.shots >= 0
        if found.sum() < clip.fps:
            continue
        _, motion = model.fit(torch.from_numpy(clip.landmarks[found]), clip.fps)
        smile = min(float(motion.to_arkit()[:, both].mean()), MOST)
        rows.append((prosody(clip.samples), smile, person_at(clip.repo, clip.path)))
    features, smiles, people = (np.array(column) for column in zip(*rows, strict=True))
    counts = np.array([(people == person).sum() for person in people])
    weights = counts**-0.7
    seeds = [np.random.default_rng(seed) for seed in range(5)]
    guesses = [told(features, smiles, people, weights, random) for random in seeds]
    heard = np.mean([correlation(guess, smiles, weights) for guess in guesses])
    chance = []
    for seed in range(EXCHANGES):
        random = np.random.default_rng(100 + seed)
        names = np.unique(people)
        other = dict(zip(names, random.permutation(names), strict=True))
        exchanged = smiles[[random.choice(np.flatnonzero(people == other[person])) for person in people]]
        chance.append(correlation(told(features, exchanged, people, weights, random), exchanged, weights))
    print(
        f"{len(rows)} clips of {len(np.unique(people))} people, mean smile {smiles.mean():.3f}, spread {smiles.std():.3f}"
    )
    print(f"correlation {heard:.3f}; with exchanged people {np.mean(chance):.3f}, spread {np.std(chance):.3f}")
    order, tenth = np.argsort(np.mean(guesses, 0)), len(rows) // 10
    most, least = (smiles[chosen].mean() for chosen in (order[-tenth:], order[:tenth]))
    print(f"the tenth that sounds most like smiling smiles {most:.3f}, the tenth that sounds least so {least:.3f}")


if __name__ == "__main__":
    main()
