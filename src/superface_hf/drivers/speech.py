"""The speech driver: a sound, whole or in chunks, drives the mouth; idle motion or the diffusion drives the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..animation.mouth_swap import shut_mouth
from ..animation.rest import Rest
from ..errors import MediaError
from ..face_model.linear import FaceModel
from ..media import SoundReader, mono_blocks
from ..motion import Motion
from .audio import follow_speech, speech_to_motion
from .base import Piece, split
from .diffusion import Diffusion, follow_changes, perform_speech, performed
from .idle import IdleMotion
from .loudness import speech_level

if TYPE_CHECKING:
    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel


class SpeechDriver:
    """Makes a face speak a sound.

    Args:
        sound: a complete sound, which is read once for its loudness and once for the motion; or a generator of chunks of
            samples, which are used as they come.
        fps: frame rate of the motion.
        model: predicts the mouth.
        face_model: gives the coefficients of a shut mouth.
        idle: moves head, eyes and brows; None leaves them at rest.
        diffusion: moves them instead of ``idle``.
        articulation: factor of the mouth's distance from shut lips; shut lips stay shut.
        sampling_rate: samples a second of chunks.

    Raises:
        MediaError: chunks without a sampling rate.
    """

    missing: tuple[int, ...] = ()

    def __init__(
        self,
        sound: SoundReader | Iterable[Any],
        fps: float,
        model: SuperFaceAudioToLipModel,
        face_model: FaceModel,
        *,
        idle: IdleMotion | None = None,
        diffusion: Diffusion | None = None,
        articulation: float = 1.0,
        sampling_rate: float | None = None,
    ) -> None:
        self.fps, self._model, self._idle, self._articulation = fps, model, idle, articulation
        self._diffusion, self._shut = diffusion, shut_mouth(face_model)
        self.sound: SoundReader | None = None
        self.frames: int | None = None
        self._chunks: Iterator[np.ndarray] | None = None
        if isinstance(sound, SoundReader):
            self.sound = sound
            if sound.seconds is not None:
                self.frames = max(1, round(sound.seconds * fps))
        elif sampling_rate is None:
            raise MediaError("Chunks of sound need their sampling rate: pass sampling_rate=16000 (or whatever it is).")
        else:
            self._chunks = iter(mono_blocks(sound, sampling_rate, model.config.sampling_rate))

    def motions(self) -> Iterator[Motion]:
        """Yield the motion of the speech in parts, each as soon as it is known."""
        for motion in self._heard():
            if self._articulation == 1:
                yield motion
            else:
                yield replace(motion, mouth=self._shut + self._articulation * (motion.mouth - self._shut))

    def pieces(self) -> Iterator[Piece]:
        # Idle motion begins at rest; the diffusion's motion may not, so its rest pose is given.
        rest = Rest(Motion.neutral(1, self.fps), lips=False) if self._diffusion else None
        return (Piece(motion, motion.mouth, rest) for motion in self.motions())

    def _heard(self) -> Iterator[Motion]:
        model, idle, diffusion = self._model, self._idle, self._diffusion
        if self._chunks is not None:
            if diffusion:
                return perform_speech(self._chunks, self.fps, model, diffusion)
            return follow_speech(self._chunks, self.fps, model, idle)
        assert self.sound is not None
        rate = model.config.sampling_rate
        level = speech_level(self.sound.mono(rate), rate)
        if model.config.audio_encoder is None:
            if diffusion:
                return perform_speech(self.sound.mono(rate), self.fps, model, diffusion, level)
            return follow_speech(self.sound.mono(rate), self.fps, model, idle, level)
        # A pretrained encoder needs the whole sound at once.
        speech = split(speech_to_motion(self.sound.read(), self.fps, model, idle, level))
        if diffusion is None:
            return speech
        return performed(speech, follow_changes(self.sound.mono(), self.fps, diffusion, level))
