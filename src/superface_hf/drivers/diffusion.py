"""The diffusion driver: speech -> ``Motion`` by the motion diffusion.

A peer of ``audio``, which accompanies speech with idle motion. Here head, eyes, brows and gaze come from the diffusion, in
windows of 3 s, and the mouth stays audio-to-lip's, plus what the diffusion's lip refiner and an emotion add to it. Nothing
that is held grows with the length of the sound; a frame comes up to 3.2 s after its sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import tee
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..models.speech_to_motion.motion_vector import from_vectors
from ..models.speech_to_motion.performance import Performance
from ..models.speech_to_motion.windows import MotionWindowSampler, Resampled
from ..motion import Motion
from ..motion.motion import check_fps
from .audio import follow_speech, warn_if_silent
from .loudness import Levelled

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..models.speech_to_motion.denoiser import MotionDenoiser
    from ..models.speech_to_motion.lip_refiner import LipRefiner
    from ..models.speech_to_motion.motion_statistics import MotionStatistics


class MotionModels(Protocol):
    """What the diffusion is made of: a :class:`~superface_hf.pipelines.speech_to_motion.SpeechToMotionPipeline` has it."""

    denoiser: MotionDenoiser
    statistics: MotionStatistics
    lip_refiner: LipRefiner
    audio_to_lip: SuperFaceAudioToLipModel
    scheduler: DDIMScheduler


@dataclass(frozen=True, eq=False)
class Diffusion:
    """The motion diffusion, and what it is asked for: ``performance``, and ``seed``, which of the possible motions."""

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
    """The motion of a sound that comes in pieces, in constant memory.

    Args:
        blocks: (n,) float32 mono samples each, at the model's rate.
        fps: frame rate of the motion.
        model: makes the mouth; one that streams. Where it is the diffusion's own and ``fps`` too, it runs once for both.
        diffusion: makes the rest.
        level: how loud the speech is, as in :func:`~superface_hf.drivers.audio.speech_to_motion`.

    Yields:
        Frames as they are known, changes from rest except for the mouth, which is absolute.
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
    """What the diffusion does to a sound that comes in pieces.

    Args:
        blocks: (n,) float32 mono samples each, at the rate of the diffusion's audio-to-lip model. Cut up differently, the
            motion is the same except for rounding.
        fps, diffusion, level: as of :func:`perform_speech`.
        previous: what the face did before: the motion goes on from its last frames.
        spoken: whether the mouth is the one that speaks, by the diffusion's audio-to-lip model; otherwise it is only what is
            to be added to that.

    Yields:
        The frames of a window, once the sound of all of it (3 s) and 0.2 s more are there.
    """
    check_fps(fps)
    models = diffusion.models
    sampler = MotionWindowSampler(
        models.denoiser, models.statistics, models.lip_refiner, models.audio_to_lip, models.scheduler,
        diffusion.performance, previous, diffusion.seed, spoken,
    )  # fmt: skip
    rate = models.audio_to_lip.config.sampling_rate
    levelled, resampled = Levelled(rate, level), Resampled(models.denoiser.config.fps, fps)
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
    """Passes a sound on, and warns at its end if nothing was to be heard."""
    loudest = 0.0
    for block in blocks:
        loudest = max(loudest, float(np.abs(block).max(initial=0)))
        yield block
    warn_if_silent(loudest)


def performed(speech: Iterable[Motion], changes: Iterable[Motion]) -> Iterator[Motion]:
    """What the diffusion does (``changes``) with the mouth of ``speech``; both come in pieces of any length."""
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
