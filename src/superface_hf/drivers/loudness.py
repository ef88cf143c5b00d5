"""Normalise the loudness of speech before a model hears it, and measure it frame by frame.

The level of speech is the mean of the parts that are louder than the background: pauses and steady noise do not count, and are
never taken for quiet speech. A quiet recording then gives the same result as a loud one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# The level that the embedded model was trained for, in decibels relative to a full-scale square wave.
TARGET = -18.0  # dB
QUIETEST, MOST_GAIN, MOST_DAMPING = -75.0, 40.0, -20.0  # dB
BLOCK = 0.05  # seconds
# Blocks so far below the loudest are pauses; blocks less than so far above the quietest are background.
PAUSE, BACKGROUND = 25.0, 6.0  # dB
# While sound comes: the estimates of the loudest and the quietest level decay at this pace, and the level of speech is
# that of its last seconds. At the start, the target counts as if it had been heard for PRIOR seconds.
FORGETTING = 6.0  # dB a second
REMEMBERED, PRIOR = 5.0, 0.2  # seconds


def speech_level(blocks: Iterable[np.ndarray], rate: int) -> float:
    """Return the level of the speech in a whole sound, in decibels; the target where nothing stands out.

    Args:
        blocks: (n,) float mono samples each.
    """
    cutter = _Blocks(rate)
    levels = np.array([level for block in blocks for level in cutter.levels(block)])
    levels = levels[levels > QUIETEST]
    if not len(levels):
        return TARGET
    loudest = float(np.percentile(levels, 95))
    speech = levels[levels > max(loudest - PAUSE, float(levels.min()) + BACKGROUND)]
    return float(speech.mean()) if len(speech) else TARGET


def gain_for(level: float) -> float:
    """Return the factor that brings speech from a level in decibels to the target."""
    return float(10 ** (np.clip(TARGET - level, MOST_DAMPING, MOST_GAIN) / 20))


class LoudnessNormalizer:
    """Brings sound that comes in pieces of any size to the target loudness, without delay.

    Args:
        rate: samples a second.
        level: the level of the whole sound in decibels, if it is known (:func:`speech_level`); otherwise it is estimated from
            the sound so far.
    """

    def __init__(self, rate: int, level: float | None = None) -> None:
        self._fixed = None if level is None else gain_for(level)
        self._blocks, self._size = _Blocks(rate), round(BLOCK * rate)
        self._loudest, self._quietest = -np.inf, np.inf
        self._weight, self._level = PRIOR, TARGET
        self._gain = self._next = 1.0
        self._at = 0  # samples into the block that is coming

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return the next samples (N,), scaled, float32."""
        samples = np.asarray(samples, np.float32)
        if self._fixed is not None:
            return samples * np.float32(self._fixed)
        parts = []
        while len(samples):
            part, samples = np.split(samples, [self._size - self._at])
            share = (self._at + np.arange(len(part), dtype=np.float32)) / self._size
            parts.append(part * (self._gain + share * (self._next - self._gain)).astype(np.float32))
            self._at += len(part)
            for level in self._blocks.levels(part):
                self._hear(level)
                self._gain, self._next, self._at = self._next, gain_for(self._level), 0
        return np.concatenate(parts) if parts else samples

    def _hear(self, level: float) -> None:
        if level <= QUIETEST:
            return
        step = FORGETTING * BLOCK
        self._loudest = max(level, self._loudest - step)
        self._quietest = min(level, self._quietest + step / 4)
        if level > max(self._loudest - PAUSE, self._quietest + BACKGROUND):
            self._weight += BLOCK
            self._level += BLOCK / min(self._weight, REMEMBERED) * (level - self._level)


class LoudnessMeter:
    """Measures the loudness of a sound in each frame's time, in decibels, as the sound comes."""

    def __init__(self, fps: float, rate: int) -> None:
        self._step = rate / fps
        self._rest = np.zeros(0, np.float32)
        self._start = self._done = 0  # the first sample that is kept, and how many frames are done

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return the levels (n,) of the frames that the next samples (N,) complete."""
        self._rest = np.concatenate([self._rest, samples])
        levels = []
        while (end := round((self._done + 1) * self._step)) <= self._start + len(self._rest):
            levels.append(_decibels(self._rest[: end - self._start]))
            self._rest, self._start, self._done = self._rest[end - self._start :], end, self._done + 1
        return np.array(levels)

    def flush(self) -> np.ndarray:
        """Return the level of the last, incomplete frame, if there is one."""
        return np.array([_decibels(self._rest)] if len(self._rest) else [])


class _Blocks:
    """Measures the level of each block of a sound that comes in pieces, in decibels."""

    def __init__(self, rate: int) -> None:
        self._size = round(BLOCK * rate)
        self._rest = np.zeros(0, np.float32)

    def levels(self, samples: np.ndarray) -> list[float]:
        """Return the levels of the blocks that are complete now."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // self._size * self._size
        energy = np.square(joined[:whole].reshape(-1, self._size), dtype=np.float64).mean(1)
        self._rest = joined[whole:]
        return [float(level) for level in 10 * np.log10(energy + 1e-12)]


def _decibels(samples: np.ndarray) -> float:
    energy = float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0
    return 10 * float(np.log10(energy)) if energy > 0 else -np.inf
