"""The one-euro filter for recordings, run forward and backward in time, so that it adds no delay."""

from __future__ import annotations

import numpy as np

SPEED_CUTOFF = 3.0  # Hz, the smoothing of the speed that sets the cutoff


def one_euro(signal: np.ndarray, fps: float, min_cutoff: float, beta: float) -> np.ndarray:
    """Smooth a signal (T, C) with one cutoff for all channels: ``min_cutoff + beta * speed`` Hz, speed in units per
    second.

    After Casiez et al. (2012), "1 Euro Filter", with the speed taken from both sides and each pass run there and back.
    """
    calm = _there_and_back(signal, np.full(len(signal), _share(SPEED_CUTOFF, fps)))
    speed = np.linalg.norm(np.gradient(calm, axis=0), axis=1) * fps
    # The frames around a quick movement belong to it: its start and end must not be rounded off.
    near = np.max(np.stack([np.roll(speed, shift) for shift in (-1, 0, 1)]), axis=0)
    near[0], near[-1] = speed[:2].max(), speed[-2:].max()
    return _there_and_back(signal, _share(min_cutoff + beta * near, fps))


def _share(cutoff: np.ndarray | float, fps: float) -> np.ndarray:
    """Return the weight of the new sample in exponential smoothing with this cutoff in Hz."""
    step = 2 * np.pi * np.asarray(cutoff) / fps
    return step / (1 + step)


def _there_and_back(signal: np.ndarray, share: np.ndarray) -> np.ndarray:
    forward = _exponential(signal, share)
    return _exponential(forward[::-1], share[::-1])[::-1]


def _exponential(signal: np.ndarray, share: np.ndarray) -> np.ndarray:
    result = np.empty_like(signal, dtype=np.float64)
    state = signal[0]
    for index, (value, weight) in enumerate(zip(signal, share, strict=True)):
        state = state + weight * (value - state)
        result[index] = state
    return result
