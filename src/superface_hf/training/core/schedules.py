"""How the learning rate rises and falls: factors on its peak."""

from __future__ import annotations

import math
import time


def rising(step: int, warmup: int) -> float:
    """A linear rise over ``warmup`` steps, to 1."""
    return min(1.0, (step + 1) / max(warmup, 1))


def cosine(progress: float, lowest: float = 0.01) -> float:
    """From 1 at the beginning, ``progress`` 0, along a cosine to ``lowest`` at its end, 1."""
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * progress)) / 2


def falling_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """A factor on the peak learning rate: a linear rise over ``warmup`` steps, a linear fall to a twentieth over the last
    ``decay`` steps."""
    return rising(step, warmup) * min(1.0, max(0.05, (steps - step) / max(decay, 1)))


class TrainingClock:
    """Counts steps and seconds over restarts, and gives the learning rate's course."""

    def __init__(self, steps: int, minutes: float, warmup: int = 100) -> None:
        self.steps, self.minutes, self.warmup = steps, minutes, warmup
        self.step, self.seconds = 0, 0.0
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        self.step += 1

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return min(1.0, max(self.step / self.steps, self.seconds / 60 / self.minutes))

    @property
    def over(self) -> bool:
        return self.progress >= 1

    def rate(self) -> float:
        """Warm-up, then a cosine to zero: a factor on the peak learning rate."""
        return rising(self.step, self.warmup) * cosine(self.progress)
