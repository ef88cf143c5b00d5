"""Measure how a face moves while it speaks: like people, with the voice, and not always in the same way.

Everything is measured at ``FPS`` on channels that are the same for everyone: the head's turns (degrees) and shifts, lids,
brows and gaze, as changes from how that person usually holds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import MotionError
from ..motion import Motion
from ..motion.arkit import EXPRESSION_REGIONS, ArkitMaps, arkit_index
from ..motion.rotations import mean_rotation, rotation_matrix, rotation_vector

FPS = 25.0
WINDOW, HOP = 50, 25  # frames
CHANNELS = (
    "pitch",
    "yaw",
    "roll",
    "right",
    "down",
    "nearer",
    "gaze_right",
    "gaze_down",
    "blink",
    "brows_up",
    "brows_down",
)
# Units of each channel in the features: medians of its standard deviation and of its speed's, over 49 training people.
UNITS = np.array([1.6, 2.9, 1.8, 0.08, 0.05, 0.01, 3.0, 2.2, 0.14, 0.12, 0.1])
SPEED_UNITS = np.array([6.0, 8.0, 4.7, 0.23, 0.17, 0.02, 11.0, 8.5, 1.2, 0.54, 0.5])
SMOOTHING = 0.2  # seconds over which loudness and the head's speed are averaged
QUIET = 30.0  # dB below the loudest; quieter sound counts as silence


def movement_channels(motion: Motion) -> np.ndarray:
    """Return the ``CHANNELS`` (T, 11) at 25 fps: degrees, inter-ocular distances, the logarithm of size, ARKit scores."""
    motion = motion if motion.fps == FPS else motion.resample(FPS)
    turn = rotation_matrix(mean_rotation(motion.rotation)).T @ rotation_matrix(motion.rotation)
    size = np.median(motion.scale)
    maps = ArkitMaps.default().to_scores
    scores = sum(getattr(motion, region) @ maps[region] for region in EXPRESSION_REGIONS)

    def score(*names: str) -> np.ndarray:
        return scores[:, [arkit_index(name) for name in names]].mean(1)

    channels = np.column_stack(
        [
            np.degrees(rotation_vector(turn)),
            motion.translation / size,
            np.log(motion.scale / size),
            np.degrees((motion.gaze[:, :2] + motion.gaze[:, 2:]) / 2),
            score("eyeBlinkLeft", "eyeBlinkRight"),
            score("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
            score("browDownLeft", "browDownRight"),
        ]
    )
    return channels - np.median(channels, axis=0)


def movement_features(motion: Motion) -> np.ndarray:
    """Return one row (N, 33) for each two seconds, a second apart: mean, spread and speed of each channel.

    Raises:
        MotionError: the motion is shorter than two seconds.
    """
    channels = movement_channels(motion)
    if len(channels) < WINDOW:
        raise MotionError(f"Movement is measured over {WINDOW / FPS:g} s; the motion lasts {motion.seconds:.2f} s.")
    speed = np.gradient(channels, axis=0) * FPS
    rows = []
    for start in range(0, len(channels) - WINDOW + 1, HOP):
        part, fast = channels[start : start + WINDOW], speed[start : start + WINDOW]
        rows.append(np.concatenate([part.mean(0) / UNITS, part.std(0) / UNITS, fast.std(0) / SPEED_UNITS]))
    return np.array(rows)


def motion_frechet_distance(predictions: Sequence[Motion], references: Sequence[Motion]) -> float:
    """Return the Frechet distance (Heusel et al. 2017) of :func:`movement_features` to those of real people.

    Args:
        predictions, references: motions of at least two seconds each; they need not belong to each other.
    """
    (mine, spread), (real, real_spread) = (
        (rows.mean(0), np.cov(rows, rowvar=False))
        for rows in (
            np.concatenate([movement_features(motion) for motion in side]) for side in (predictions, references)
        )
    )
    # The trace of the product's root is the sum of the roots of its eigenvalues, which are real and not negative.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(spread @ real_spread).real, 0)).sum()
    return float(np.square(mine - real).sum() + np.trace(spread) + np.trace(real_spread) - 2 * roots)


def head_beat_correlation(motion: Motion, loudness: np.ndarray) -> float:
    """Return Pearson's correlation of the head's speed with the loudness of the voice.

    Args:
        motion: T frames at 25 fps.
        loudness: (T,) the mean square of each frame's sound in decibels.

    Returns:
        In [-1, 1]; 0 where one of them does not change.
    """
    if len(loudness) != len(motion):
        raise MotionError(f"The loudness has {len(loudness)} frames, the motion {len(motion)}.")
    turning = np.linalg.norm(np.gradient(np.degrees(motion.rotation), axis=0), axis=1) * motion.fps
    heard = np.maximum(loudness, np.max(loudness) - QUIET)
    one, other = (_averaged(values, motion.fps) for values in (turning, heard))
    if one.std() < 1e-6 or other.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def head_spread(motions: Sequence[Motion]) -> np.ndarray:
    """Return the standard deviation (3,) of pitch, yaw and roll in degrees over a motion, averaged over motions."""
    return np.mean([movement_channels(motion)[:, :3].std(0) for motion in motions], axis=0)


def head_jitter(motion: Motion) -> float:
    """Return the mean second difference of the head's rotation, degrees a frame squared."""
    return float(np.linalg.norm(np.diff(np.degrees(motion.rotation), n=2, axis=0), axis=1).mean())


def head_diversity(motions: Sequence[Motion]) -> float:
    """Return the mean angle between the heads of several motions to the same sound, over frames and pairs, in degrees."""
    distances = [
        np.degrees(np.linalg.norm(one.rotation - other.rotation, axis=1)).mean()
        for index, one in enumerate(motions)
        for other in motions[:index]
    ]
    return float(np.mean(distances)) if distances else 0.0


def _averaged(values: np.ndarray, fps: float) -> np.ndarray:
    width = max(1, round(SMOOTHING * fps)) | 1
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")
