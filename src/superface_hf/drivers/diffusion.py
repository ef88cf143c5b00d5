"""The diffusion driver: speech -> ``Motion`` by a :class:`~superface_hf.pipelines.speech_to_motion.SpeechToMotionPipeline`.

A peer of ``audio``, which accompanies speech with idle motion. Here head, eyes, brows and gaze come from the diffusion, in
windows of 3 s, and the mouth stays audio-to-lip's, plus what the diffusion's lip refiner and an emotion add to it. Nothing
grows with the length of the sound; a frame comes up to 3.2 s after its sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import tee
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..motion import Motion
from .audio import follow_speech

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..pipelines.speech_to_motion import Performance, SpeechToMotionPipeline


def perform_speech(
    blocks: Iterable[np.ndarray],
    fps: float,
    model: SuperFaceAudioToLipModel,
    diffusion: SpeechToMotionPipeline,
    performance: Performance,
    seed: int = 0,
    level: float | None = None,
) -> Iterator[Motion]:
    """The motion of a sound that comes in pieces, in constant memory.

    Args:
        blocks: (n,) float32 mono samples each, at the model's rate; cut up differently, the motion is the same.
        fps: frame rate of the motion.
        model: makes the mouth; one that streams.
        diffusion, performance: make the rest.
        seed: which of the possible motions.
        level: how loud the speech is, as in :func:`~superface_hf.drivers.audio.speech_to_motion`.

    Yields:
        Frames as they are known, changes from rest but for the mouth, which is absolute.
    """
    heard, seen = tee(blocks)
    changes = diffusion.changes(seen, fps, performance, level, generator=torch.Generator().manual_seed(seed))
    return performed(follow_speech(heard, fps, model, None, level), changes)


def performed(speech: Iterable[Motion], changes: Iterable[Motion]) -> Iterator[Motion]:
    """What the diffusion does (``changes``), with the mouth of ``speech``; both come in pieces of any length."""
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
