"""Turn speech into ``Motion`` with the motion diffusion. Used by the speech driver.

``audio`` adds idle motion to speech; here head, eyes, brows and gaze come from the diffusion instead, in windows of 3
s. The mouth is audio-to-lip's, with the offsets of the diffusion's lip refiner and of an emotion. Memory does not grow
with the length of the sound; a frame comes up to 3.2 s after its sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import tee
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..models.speech_to_motion.motion_vector import from_vectors
from ..models.speech_to_motion.performance import Performance
from ..models.speech_to_motion.windows import MotionWindowSampler, Resampled
from ..motion import Motion
from ..motion.motion import check_fps
from .audio import follow_speech, warn_if_silent
from .loudness import LoudnessNormalizer

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..models.speech_to_motion.denoiser import MotionDenoiser
    from ..models.speech_to_motion.lip_refiner import LipRefiner
    from ..models.speech_to_motion.motion_statistics import MotionStatistics


class MotionModels(Protocol):
    """The models of the motion diffusion, as :class:`~superface_hf.pipelines.speech_to_motion.SpeechToMotionPipeline`
    holds them."""

    denoiser: MotionDenoiser
    statistics: MotionStatistics
    lip_refiner: LipRefiner
    audio_to_lip: SuperFaceAudioToLipModel
    scheduler: Any


@dataclass(frozen=True, eq=False)
class Diffusion:
    """The motion diffusion with its request: the ``performance``, and the ``seed`` of the sample."""

    models: MotionModels
    performance: Performance
    seed: int = 0


def perform_speech(
    blocks: Iterable[np.ndarray],
    fps: float,
    model: SuperFaceAudioToLipModel,
    diffusion: Diffusion,
    level: float | None = None,
) -> Iterator[Motion]:
    """Return the motion of a sound that comes in pieces, in constant memory.

    Args:
        blocks: (n,) float32 mono samples each, at the model's rate.
        fps: frame rate of the motion.
        model: predicts the mouth; must be able to stream. If it and ``fps`` are the diffusion's own, it runs once for both.
        diffusion: moves head, eyes, brows and gaze.
        level: the level of the speech, as in :func:`~superface_hf.drivers.audio.speech_to_motion`.

    Yields:
        Frames as soon as they are known: changes from rest, and the mouth absolute.
    """
    models = diffusion.models
    if model is models.audio_to_lip and fps == models.denoiser.config.fps:
        return follow_changes(_warning_if_silent(blocks), fps, diffusion, level, spoken=True)
    heard, seen = tee(blocks)
    return performed(follow_speech(heard, fps, model, None, level), follow_changes(seen, fps, diffusion, level))


def follow_changes(
    blocks: Iterable[np.ndarray],
    fps: float,
    diffusion: Diffusion,
    level: float | None = None,
    previous: Motion | None = None,
    spoken: bool = False,
) -> Iterator[Motion]:
    """Yield the diffusion's motion for a sound that comes in pieces.

    Args:
        blocks: (n,) float32 mono samples each, at the rate of the diffusion's audio-to-lip model. Except for
            rounding, the motion does not depend on how the sound is cut.
        fps, diffusion, level: see :func:`perform_speech`.
        previous: the motion before this one, which continues its last frames.
        spoken: whether the mouth is the one that speaks; otherwise it is an offset to audio-to-lip's mouth.

    Yields:
        The frames of a window, once all of its sound (3 s) and 0.2 s more have come.
    """
    check_fps(fps)
    models = diffusion.models
    sampler = MotionWindowSampler(
        models.denoiser, models.statistics, models.lip_refiner, models.audio_to_lip, models.scheduler,
        diffusion.performance, previous, diffusion.seed, spoken,
    )  # fmt: skip
    rate = models.audio_to_lip.config.sampling_rate
    levelled, resampled = LoudnessNormalizer(rate, level), Resampled(models.denoiser.config.fps, fps)
    samples = 0
    for block in blocks:
        samples += len(block)
        for rows in sampler.push(levelled.push(block)):
            if len(ready := resampled.push(rows)):
                yield from_vectors(ready, fps)
    for rows in sampler.flush():
        if len(ready := resampled.push(rows)):
            yield from_vectors(ready, fps)
    frames = max(1, round(samples / rate * fps)) if samples else 0
    if len(ready := resampled.flush(frames)):
        yield from_vectors(ready, fps)


def _warning_if_silent(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the sound unchanged, and warn at its end if it was silent."""
    loudest = 0.0
    for block in blocks:
        loudest = max(loudest, float(np.abs(block).max(initial=0)))
        yield block
    warn_if_silent(loudest)


def performed(speech: Iterable[Motion], changes: Iterable[Motion]) -> Iterator[Motion]:
    """Yield the diffusion's motion (``changes``) with its mouth added to that of ``speech``; both come in pieces of any
    length."""
    mouths = iter(speech)
    mouth: np.ndarray | None = None
    for change in changes:
        while mouth is None or len(mouth) < len(change):
            spoken = next(mouths, None)
            if spoken is None:
                break
            mouth = spoken.mouth if mouth is None else np.concatenate([mouth, spoken.mouth])
        if mouth is None or not len(mouth):
            return
        change = change[: len(mouth)]
        yield replace(change, mouth=mouth[: len(change)] + change.mouth)
        mouth = mouth[len(change) :]
