"""Learning-rate schedules: factors on the peak."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def rising(step: int, warmup: int) -> float:
    """Return a linear rise over ``warmup`` steps, to 1."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cosine(progress: float, lowest: float = 0.01) -> float:
    """Fall along a cosine from 1, at ``progress`` 0, to ``lowest``, at ``progress`` 1."""
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def cosine_after_warmup(step: int, warmup: int, progress: float, lowest: float = 0.01) -> float:
    """Return a linear rise over ``warmup`` steps, then a cosine to ``lowest``, of trainings that end by steps or by time.

    Args:
        progress: how much of the training is done, from 0 to 1.
    """
    return rising(step, warmup) * cosine(progress, lowest)


def cosine_after_share(progress: float, warm: float, lowest: float, start: float = 0.05) -> float:
    """Return a linear rise from ``start`` over the first ``warm`` share of the training, then a cosine to ``lowest``."""
    return min(1.0, start + progress / warm) * cosine(progress, lowest)


def falling_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """Return a linear rise over ``warmup`` steps, and a linear fall to a twentieth over the last ``decay`` steps."""
    return rising(step, warmup) * min(1.0, max(0.05, (steps - step) / max(decay, 1)))


def switched_on(progress: float, first: float, fully: float) -> float:
    """Return the share by which a late loss counts: 0 up to ``first``, 1 from ``fully`` on, both shares of the training."""
    return min(1.0, max(0.0, (progress - first) / (fully - first)))


def set_rates(optimizer: torch.optim.Optimizer, rates: float | Sequence[float]) -> None:
    """Set the learning rates of an optimizer: one for all groups of parameters, or one for each."""
    groups = optimizer.param_groups
    each = [rates] * len(groups) if isinstance(rates, (int, float)) else rates
    for group, rate in zip(groups, each, strict=True):
        group["lr"] = rate
