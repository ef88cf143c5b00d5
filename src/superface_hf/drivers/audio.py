"""The audio driver: speech -> ``Motion``.

The mouth is what a neutral face would do, absolute: shut in silence. Head, eyes and brows come from the idle driver, as
changes from rest. ``speech_to_motion`` takes a whole sound, ``follow_speech`` the same in pieces, as it comes. Both hear it at
one loudness, whatever it was recorded at.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..media import Sound
from ..media.sound import SILENCE
from ..motion import Motion
from .idle import IdleMotion, IdleStream
from .loudness import Levelled

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

logger = logging.getLogger(__name__)


def speech_to_motion(
    sound: Sound,
    fps: float,
    model: SuperFaceAudioToLipModel,
    idle: IdleMotion | None = None,
    level: float | None = None,
) -> Motion:
    """The motion of a whole sound.

    Args:
        fps: frame rate of the motion.
        model: makes the mouth.
        idle: makes head, eyes and brows; None leaves them at rest.
        level: how loud the speech is (:func:`~superface_hf.drivers.loudness.speech_level`); None estimates it on the way, as
            for a sound that is still coming.

    Returns:
        ``max(1, round(seconds * fps))`` frames; frame 0 is at rest but for its mouth.
    """
    samples = sound.mono(model.config.sampling_rate)
    warn_if_silent(float(np.abs(samples).max(initial=0)))
    samples = Levelled(model.config.sampling_rate, level).push(samples)
    mouth = model.predict(samples, fps)
    loudness = Loudness(fps, model.config.sampling_rate)
    levels = np.concatenate([loudness.push(samples), loudness.flush()])
    return _joined(mouth, levels, (idle or IdleMotion(strength=0)).stream(fps))


def follow_speech(
    blocks: Iterable[np.ndarray],
    fps: float,
    model: SuperFaceAudioToLipModel,
    idle: IdleMotion | None = None,
    level: float | None = None,
) -> Iterator[Motion]:
    """The motion of a sound that comes in pieces, in constant memory; joined it equals :func:`speech_to_motion`.

    Args:
        blocks: (n,) float32 mono samples each, at the model's rate (see :func:`~superface_hf.media.mono_blocks`).
        fps, model, idle, level: as above. The model must be one that streams.

    Yields:
        One or more frames, as soon as they are known: ``model.stream(fps).latency`` seconds after their time.
    """
    mouths, idling = model.stream(fps), (idle or IdleMotion(strength=0)).stream(fps)
    loudness = Loudness(fps, model.config.sampling_rate)
    levelled = Levelled(model.config.sampling_rate, level)
    levels = np.zeros(0)
    loudest = 0.0
    for raw in blocks:
        loudest = max(loudest, float(np.abs(raw).max(initial=0)))
        block = levelled.push(raw)
        mouth = mouths.push(block)
        levels = np.concatenate([levels, loudness.push(block)])
        if len(mouth):
            yield _joined(mouth, levels, idling)
            levels = levels[len(mouth) :]
    warn_if_silent(loudest)
    mouth = mouths.flush()
    if len(mouth):
        yield _joined(mouth, np.concatenate([levels, loudness.flush()]), idling)


class Loudness:
    """How loud a sound is in each frame's time, in decibels, as it comes."""

    def __init__(self, fps: float, rate: int) -> None:
        self._step = rate / fps
        self._rest = np.zeros(0, np.float32)
        self._start = self._done = 0  # the first sample that is kept, and how many frames are done

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(N,) the next samples -> (n,) the frames that are complete now."""
        self._rest = np.concatenate([self._rest, samples])
        levels = []
        while (end := round((self._done + 1) * self._step)) <= self._start + len(self._rest):
            levels.append(_decibels(self._rest[: end - self._start]))
            self._rest, self._start, self._done = self._rest[end - self._start :], end, self._done + 1
        return np.array(levels)

    def flush(self) -> np.ndarray:
        """The last, incomplete frame, if there is one."""
        return np.array([_decibels(self._rest)] if len(self._rest) else [])


def _joined(mouth: np.ndarray, levels: np.ndarray, idling: IdleStream) -> Motion:
    levels = np.pad(levels[: len(mouth)], (0, max(0, len(mouth) - len(levels))), constant_values=-np.inf)
    return replace(idling.push(levels), mouth=mouth)


def _decibels(samples: np.ndarray) -> float:
    energy = float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0
    return 10 * float(np.log10(energy)) if energy > 0 else -np.inf


def warn_if_silent(loudest: float) -> None:
    if loudest < SILENCE:
        logger.warning("The sound is silent: the mouth stays shut.")
