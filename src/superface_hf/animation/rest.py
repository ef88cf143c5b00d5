"""Find the rest pose of a driving person, from which the changes of a motion are measured.

A clip rarely begins at rest: its first frame may show the middle of a word, half-shut eyes, or a sideways look. The
rest pose is that of the calmest stretch in which the person looks most straight ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..motion import Motion
from ..motion.arkit import ARKIT_NAMES, EXPRESSION_REGIONS
from ..motion.rotations import mean_rotation

# A turn of so many radians, or a speed of so many radians (or head sizes) a second, counts as much as one blendshape of 1.
TURN, TURN_SPEED = 0.2, 1.0
# The length of the stretch, in seconds. Of stretches whose unrest differs by less than the second number, the first is taken.
STRETCH, EQUAL = 0.4, 0.02
# A frame with an unrest below the first number is fully at rest; above the second, not at all.
CALM, NOT_CALM = 1.0, 3.0
# While a video comes: the seconds in which the rest pose moves to a new estimate, and those after which the best frame
# so far is trusted fully.
SETTLING, TRUSTED = 0.5, 4.0
# A motion whose first frame is this close to a neutral face that looks straight ahead begins at rest, as hand-made motions do.
BEGINS_AT_REST = 0.3
_EXPRESSIONS = np.array([not name.startswith("eyeLook") for name in ARKIT_NAMES])


@dataclass(frozen=True, eq=False)
class Rest:
    """How a driver's motion is interpreted.

    Attributes:
        motion: one frame of the driving person at rest.
        lips: whether the driver's mouth is a person's and taken absolutely; otherwise its changes are taken.
        still: whether the driver is one picture, whose expression is taken.
    """

    motion: Motion
    lips: bool = True
    still: bool = False


def unrest(motion: Motion) -> np.ndarray:
    """Return how far each frame (T,) is from a calm face that looks straight ahead."""
    moving = np.zeros(len(motion))
    if len(motion) > 1:
        moving = np.linalg.norm(np.gradient(motion.rotation, axis=0), axis=1) * motion.fps / TURN_SPEED
        drift = np.gradient(np.column_stack([motion.translation, motion.scale]), axis=0) / motion.scale[:, None]
        moving += np.linalg.norm(drift, axis=1) * motion.fps / TURN_SPEED
    return _posed(motion) + moving


def _posed(motion: Motion) -> np.ndarray:
    """Return how far each frame (T,) is from a neutral face that looks straight ahead, ignoring its movement."""
    return np.linalg.norm(motion.rotation, axis=1) / TURN + motion.to_arkit()[:, _EXPRESSIONS].sum(1)


def calmest(motion: Motion) -> Motion:
    """Return one frame: the first, if it is at rest, else the mean of the calmest stretch, at the position of its
    middle frame."""
    if _posed(motion[0])[0] < BEGINS_AT_REST:
        return motion[0]
    costs = unrest(motion)
    half = max(0, round(STRETCH * motion.fps / 2))
    padded = np.pad(costs, half, mode="edge")
    means = np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")
    best = int(np.flatnonzero(means <= means.min() + EQUAL)[0])
    stretch = np.arange(max(0, best - half), min(len(motion), best + half + 1))
    stretch = stretch[costs[stretch] <= costs[stretch].min() + EQUAL]
    middle = {name: getattr(motion, name)[stretch].mean(0, keepdims=True) for name in EXPRESSION_REGIONS}
    turn = mean_rotation(motion.rotation[stretch])[None] if len(stretch) > 1 else motion.rotation[stretch]
    return replace(motion[best], rotation=turn, **middle)


class RunningRest:
    """Estimates the rest pose while frames come, and starts again with every shot.

    Until a calm frame comes, a neutral face that looks straight ahead is used.
    """

    def __init__(self) -> None:
        self._shot: int | None = None

    def __call__(self, motion: Motion, shot: int, again: Callable[[], Motion] | None = None) -> Rest:
        """Return the rest pose after one more frame of the given shot.

        Args:
            motion: one frame.
            shot: the number of its shot.
            again: measures the frame again, for a driver that keeps improving its estimate of the person's shape.
        """
        cost = float(unrest(motion)[0])
        if shot != self._shot:
            self._shot, self._seen = shot, 0
            self._best, self._cost, self._recent, self._again = motion, cost, cost, again
            self._prior = _neutral_like(motion)
            self._rest = self._aim()
            return Rest(self._rest)
        self._seen += 1
        step = min(1.0, 1 / (STRETCH * motion.fps))
        self._recent += step * (cost - self._recent)
        worst = max(cost, self._recent)
        if worst < self._cost - EQUAL:
            self._best, self._cost, self._again = motion, worst, again
        elif self._again is not None:
            self._best = self._again()
        self._rest = _between(self._rest, self._aim(), min(1.0, 1 / (SETTLING * motion.fps)))
        return Rest(self._rest)

    def _aim(self) -> Motion:
        trust = np.clip((NOT_CALM - self._cost) / (NOT_CALM - CALM), 0, 1)
        return _between(self._prior, self._best, float(max(trust, self._seen / self._best.fps / TRUSTED)))


def _neutral_like(motion: Motion) -> Motion:
    """Return a neutral face that looks straight ahead, with the position and size of ``motion``."""
    calm = {name: np.zeros_like(getattr(motion, name)) for name in ("rotation", *EXPRESSION_REGIONS)}
    return replace(motion, **calm)


def _between(one: Motion, other: Motion, share: float) -> Motion:
    return one.blend(other, min(1.0, share))
