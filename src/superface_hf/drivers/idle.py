"""Idle motion: what a face does besides speaking. The head sways and nods with the voice, eyes look about and blink.

Where the numbers come from:

- Blinks: 17 a minute at rest, intervals log-normal (Bentivoglio et al. 1997, Movement Disorders 12); a blink lasts about
  200 ms, and lids open about twice as slowly as they close (Caffier et al. 2003, Eur. J. Appl. Physiol. 89).
- Gaze: speakers look at the listener for about three seconds, then away for about one; a saccade lasts 25 ms and 2.4 ms more
  for each degree (Lee, Badler and Badler 2002, "Eyes Alive"). Ours are smaller, because the camera is the only listener.
- Nods and brows go with the accents of speech, a little after them (Graf et al. 2002, "Visual prosody").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import MotionError
from ..motion import Motion
from ..motion.motion import check_fps
from ..utils.easing import smoothstep

MAX_STRENGTH = 2.0

# Sway: the number of waves, their frequencies (Hz), and the exponent by which slower ones are larger. Its standard deviations:
# pitch, yaw and roll in degrees; right, down and nearer in inter-ocular distances.
SWAY_WAVES, SLOWEST, FASTEST, SWAY_SLOPE = 12, 0.05, 0.7, 0.75
SWAY_TURN = (1.1, 1.8, 1.0)
SWAY_SHIFT = (0.020, 0.010, 0.006)
START = 1.5  # seconds in which the sway fades in

# Blinks, in seconds: mean and log standard deviation of the interval, the least pause, and the range of each phase. The
# lids stay shut for more than a frame at 25 fps, so that each blink shows shut eyes.
BLINK_EVERY, BLINK_SPREAD, BLINK_REST = 3.5, 0.6, 0.6
BLINK_CLOSING, BLINK_SHUT, BLINK_OPENING = (0.060, 0.090), (0.041, 0.050), (0.100, 0.150)

# Gaze: mean seconds at the camera and away from it with their log standard deviation; how far it moves, in degrees.
GAZE_CAMERA, GAZE_AWAY, GAZE_SPREAD = 3.1, 0.9, 0.5
GAZE_JITTER, GAZE_MEAN, GAZE_LIMITS = 0.5, 3.5, (1.5, 7.0)
SACCADE_BASE, SACCADE_PER_DEGREE = 0.025, 0.0024  # seconds

# Accents: how loudness (dB) is mapped to a voice of 0 to 1, and the time constants (seconds) of its averages. An accent
# is where the quick average exceeds the slow one.
FLOOR_DB, VOICE_RANGE_DB, PEAK_FALL_DB = -55.0, 25.0, 2.0  # the fall is per second
QUICK, SLOW, NOD_DELAY, BROW_DELAY = 0.06, 0.7, 0.07, 0.12
NOD_DEGREES, BROW_RAISE, BROW_THRESHOLD = 5.0, 0.8, 0.15  # for an accent of 1; real ones reach 0.3 to 0.6


@dataclass(frozen=True)
class IdleMotion:
    """Natural head sway, gaze, blinks, and nods that follow speech.

    The same seed gives the same motion, at once or in pieces of any length. Frame 0 is at rest, so that a portrait
    starts in its own pose.

    Args:
        seed: the seed of the random motion.
        strength: 0 (nothing moves) to 2; scales how far head, gaze and brows go. Blinks shut the eyes at any strength above 0.

    Raises:
        MotionError: the strength is out of range.
    """

    seed: int = 0
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= MAX_STRENGTH:
            raise MotionError(f"The strength of idle motion lies between 0 and {MAX_STRENGTH:g}, not {self.strength}.")
        if self.seed < 0:
            raise MotionError(f"The seed of idle motion must not be negative: {self.seed}.")

    def stream(self, fps: float) -> IdleStream:
        """Return the stream of this motion, which is driven by the loudness of the speech."""
        return IdleStream(self, fps)

    def motion(self, frames: int, fps: float, loudness: np.ndarray | None = None) -> Motion:
        """Return ``frames`` frames at once, with the loudness of each (see :meth:`IdleStream.push`) or in silence."""
        return self.stream(fps).push(np.full(frames, -np.inf) if loudness is None else loudness)


class IdleStream:
    """Idle motion that continues with each call. From :meth:`IdleMotion.stream`."""

    def __init__(self, idle: IdleMotion, fps: float) -> None:
        check_fps(fps)
        self._fps, self._strength, self._done = float(fps), idle.strength, 0
        sway, blinks, gaze = (np.random.default_rng(seed) for seed in np.random.SeedSequence(idle.seed).spawn(3))
        self._sway, self._blinks, self._gaze = _Sway(sway), _Blinks(blinks), _Gaze(gaze)
        self._accents = _Accents(1 / self._fps)
        self._lids = _blendshapes({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes
        self._brows = _blendshapes({"browInnerUp": 1.0, "browOuterUpLeft": 0.6, "browOuterUpRight": 0.6}).brows

    def push(self, loudness: np.ndarray) -> Motion:
        """Return the next frames.

        Args:
            loudness: (n,) the sound's mean square in each frame's time in decibels (0 is full scale), n at least 1.

        Returns:
            n frames of changes that are added to a face at rest. No change is all zeros, with a scale of 1.
        """
        count = len(loudness)
        time = (self._done + np.arange(count)) / self._fps
        self._done += count
        motion = Motion.neutral(count, self._fps)
        accents = np.array([self._accents(value) for value in np.asarray(loudness, float).tolist()])
        moments = time.tolist()
        blinks = np.array([self._blinks(now) for now in moments])
        gaze = np.array([self._gaze(now) for now in moments])
        if self._strength == 0:
            return motion
        turn, shift = self._sway(time)
        turn[:, 0] -= np.radians(NOD_DEGREES) * accents[:, 0]  # a positive pitch looks up
        turn, shift, gaze = self._strength * turn, self._strength * shift, self._strength * gaze
        # The eyes stay on what they look at while the head turns.
        gaze = gaze - np.stack([turn[:, 1], -turn[:, 0]], axis=1)
        raised = self._strength * BROW_RAISE * np.maximum(0, accents[:, 1:] - BROW_THRESHOLD)
        return Motion(
            rotation=turn,
            translation=shift[:, :2],
            scale=1 + shift[:, 2],
            mouth=motion.mouth,
            eyes=blinks[:, None] * self._lids,
            brows=raised * self._brows,
            gaze=np.tile(gaze, 2),
            fps=self._fps,
        )


class _Sway:
    """Band-limited noise as a sum of waves (Rice 1944), which can be evaluated at any time."""

    def __init__(self, random: np.random.Generator) -> None:
        size = (len(SWAY_TURN) + len(SWAY_SHIFT), SWAY_WAVES)
        steps = (np.arange(SWAY_WAVES) + random.uniform(0, 1, size)) / SWAY_WAVES
        self._frequency = SLOWEST * (FASTEST / SLOWEST) ** steps
        self._phase = random.uniform(0, 2 * np.pi, size)
        weight = self._frequency**-SWAY_SLOPE
        spread = np.array([*np.radians(SWAY_TURN), *SWAY_SHIFT])[:, None]
        self._weight = spread * weight / np.sqrt((weight**2).sum(1, keepdims=True) / 2)

    def __call__(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return turns (n, 3) in radians and shifts (n, 3) at the times (n,) in seconds."""
        angle = 2 * np.pi * self._frequency * time[:, None, None] + self._phase
        onset = smoothstep(time / START)
        sway = (self._weight * np.sin(angle)).sum(-1) * onset[:, None]
        return sway[:, :3], sway[:, 3:]


class _Blinks:
    """How far the lids are shut, 0 to 1; must be called with increasing times."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._start = self._end = 0.0
        self._next()

    def __call__(self, time: float) -> float:
        while time >= self._end:
            self._next()
        closing, shut, opening = self._phases
        since = time - self._start
        return _eased(since / closing) * (1 - _eased((since - closing - shut) / opening))

    def _next(self) -> None:
        interval = _lognormal(self._random, BLINK_EVERY, BLINK_SPREAD)
        self._phases = [self._random.uniform(*limits) for limits in (BLINK_CLOSING, BLINK_SHUT, BLINK_OPENING)]
        self._start = max(self._start + interval, self._end + BLINK_REST)
        self._end = self._start + sum(self._phases)


class _Gaze:
    """Where the eyes look, right and down in radians: at the camera, away, and back; must be called with increasing times."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._before = self._target = np.zeros(2)
        self._away = False
        self._start, self._end = 0.0, _lognormal(random, GAZE_CAMERA, GAZE_SPREAD)
        self._lasts = SACCADE_BASE

    def __call__(self, time: float) -> np.ndarray:
        while time >= self._end:
            self._next()
        if time >= self._start + self._lasts:
            return self._target
        return self._before + (self._target - self._before) * _eased((time - self._start) / self._lasts)

    def _next(self) -> None:
        self._away = not self._away
        self._before, self._start = self._target, self._end
        if self._away:
            far = np.clip(self._random.exponential(GAZE_MEAN), *GAZE_LIMITS)
            direction = self._random.uniform(0, 2 * np.pi)
            target = far * np.array([np.cos(direction), 0.6 * np.sin(direction)])
        else:
            target = self._random.normal(0, GAZE_JITTER, 2)
        self._target = np.radians(target)
        way = float(np.linalg.norm(self._target - self._before))
        self._lasts = SACCADE_BASE + SACCADE_PER_DEGREE * np.degrees(way)
        self._end += _lognormal(self._random, GAZE_AWAY if self._away else GAZE_CAMERA, GAZE_SPREAD)


class _Accents:
    """How strongly the voice is stressed, as the head's nod and the brows' raise follow it; uses past loudness only."""

    def __init__(self, step: float) -> None:
        self._peak = FLOOR_DB + VOICE_RANGE_DB
        self._fall = PEAK_FALL_DB * step
        self._quick, self._slow = _Average(step, QUICK), _Average(step, SLOW)
        # Two averages in sequence, so that the motion starts without a jerk.
        self._nod = (_Average(step, NOD_DELAY), _Average(step, NOD_DELAY))
        self._brows = (_Average(step, BROW_DELAY), _Average(step, BROW_DELAY))

    def __call__(self, loudness: float) -> tuple[float, float]:
        answer = self._nod[1].value, self._brows[1].value  # to the sound before this frame
        self._peak = max(loudness, FLOOR_DB + VOICE_RANGE_DB, self._peak - self._fall)
        voice = max(0.0, 1 + (loudness - self._peak) / VOICE_RANGE_DB)
        accent = max(0.0, self._quick(voice) - self._slow(voice))
        for first, second in (self._nod, self._brows):
            second(first(accent))
        return answer


class _Average:
    """An exponential average that starts at zero; ``delay`` in seconds."""

    def __init__(self, step: float, delay: float) -> None:
        self.value = 0.0
        self._share = 1 - math.exp(-step / delay)

    def __call__(self, new: float) -> float:
        self.value += self._share * (new - self.value)
        return self.value


def _blendshapes(scores: dict[str, float]) -> Motion:
    return Motion.neutral(1, 1.0).edit(scores)


def _lognormal(random: np.random.Generator, mean: float, spread: float) -> float:
    return float(random.lognormal(np.log(mean) - spread**2 / 2, spread))


def _eased(x: float) -> float:
    """Return the smoothstep of a number."""
    return float(smoothstep(np.array(x)))
