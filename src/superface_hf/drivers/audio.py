"""Turn speech into ``Motion``: the mouth by audio-to-lip, head, eyes and brows by idle motion. Used by the speech driver.

The mouth is absolute, as on a neutral face, and shut in silence. Head, eyes and brows are changes from rest.
``speech_to_motion`` takes a whole sound, ``follow_speech`` takes it in pieces, as it comes. Both normalise its loudness
first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..media import Sound
from ..media.samples import SILENCE
from ..motion import Motion
from .idle import IdleMotion, IdleStream
from .loudness import LoudnessMeter, LoudnessNormalizer

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
    """Return the motion of a whole sound.

    Args:
        fps: frame rate of the motion.
        model: predicts the mouth.
        idle: moves head, eyes and brows; None leaves them at rest.
        level: the level of the speech in decibels (:func:`~superface_hf.drivers.loudness.speech_level`); None estimates it
            while the sound comes.

    Returns:
        ``max(1, round(seconds * fps))`` frames; frame 0 is at rest except for its mouth.
    """
    samples = sound.mono(model.config.sampling_rate)
    warn_if_silent(float(np.abs(samples).max(initial=0)))
    samples = LoudnessNormalizer(model.config.sampling_rate, level).push(samples)
    mouth = model.predict(samples, fps)
    loudness = LoudnessMeter(fps, model.config.sampling_rate)
    levels = np.concatenate([loudness.push(samples), loudness.flush()])
    return _joined(mouth, levels, (idle or IdleMotion(strength=0)).stream(fps))


def follow_speech(
    blocks: Iterable[np.ndarray],
    fps: float,
    model: SuperFaceAudioToLipModel,
    idle: IdleMotion | None = None,
    level: float | None = None,
) -> Iterator[Motion]:
    """Yield the motion of a sound that comes in pieces, in constant memory; joined it equals :func:`speech_to_motion`.

    Args:
        blocks: (n,) float32 mono samples each, at the model's rate (see :func:`~superface_hf.media.mono_blocks`).
        fps, model, idle, level: see :func:`speech_to_motion`. The model must be able to stream.

    Yields:
        One or more frames each, ``model.stream(fps).latency`` seconds after their time.
    """
    mouths, idling = model.stream(fps), (idle or IdleMotion(strength=0)).stream(fps)
    loudness = LoudnessMeter(fps, model.config.sampling_rate)
    levelled = LoudnessNormalizer(model.config.sampling_rate, level)
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


def _joined(mouth: np.ndarray, levels: np.ndarray, idling: IdleStream) -> Motion:
    levels = np.pad(levels[: len(mouth)], (0, max(0, len(mouth) - len(levels))), constant_values=-np.inf)
    return replace(idling.push(levels), mouth=mouth)


def warn_if_silent(loudest: float) -> None:
    if loudest < SILENCE:
        logger.warning("The sound is silent: the mouth stays shut.")
