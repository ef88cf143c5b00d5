"""Speech alone to a talking face, as one diffusers pipeline: the made-up portrait and its animation."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from diffusers import DDIMScheduler

from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ..models.face_space.modeling_face_space import FaceSpace
from ..models.restorer.modeling_restorer import CodebookRestorer
from ..models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from ..models.teacher.modeling_teacher import SuperFaceTeacherModel
from ..models.voice_encoder.modeling_voice_encoder import SuperFaceVoiceEncoderModel
from ..renderers.auto import AutoRenderer
from .clip import TalkingFaceClip
from .speech_to_portrait import SpeechToPortraitPipeline
from .talking_face import TalkingFacePipeline


class SpeechToTalkingFacePipeline(SpeechToPortraitPipeline):
    """Draws a portrait that suits a voice, and makes it speak.

    Args:
        voice_encoder, face_space, denoiser, scheduler, restorer: see :class:`SpeechToPortraitPipeline`.
        renderer: turns the portrait and a motion into frames.
        audio_to_lip: predicts the mouth of speech.
    """

    renderer: SuperFaceTeacherModel
    audio_to_lip: SuperFaceAudioToLipModel

    def __init__(
        self,
        voice_encoder: SuperFaceVoiceEncoderModel,
        face_space: FaceSpace,
        denoiser: PortraitDenoiser,
        scheduler: DDIMScheduler,
        renderer: SuperFaceTeacherModel,
        audio_to_lip: SuperFaceAudioToLipModel,
        restorer: CodebookRestorer | None = None,
    ) -> None:
        super().__init__(voice_encoder, face_space, denoiser, scheduler, restorer)
        self.register_modules(renderer=renderer, audio_to_lip=audio_to_lip)

    @classmethod
    def embedded(cls, restorer: CodebookRestorer | str | os.PathLike[str] | None = None) -> Any:
        """Return the pipeline with the embedded weights; ``restorer``: see :meth:`SpeechToPortraitPipeline.embedded`."""
        from ..hub import weights_folder
        from ..hub.quiet import quiet_loading
        from ..models.embedded import embedded_audio_to_lip

        portrait = SpeechToPortraitPipeline.embedded(restorer)
        with quiet_loading():
            renderer = AutoRenderer.from_pretrained(weights_folder("teacher"))
        pipe = cls(**portrait.components, renderer=renderer.eval(), audio_to_lip=embedded_audio_to_lip())
        pipe.is_embedded = portrait.is_embedded
        return pipe

    @cached_property
    def talking_face(self) -> TalkingFacePipeline:
        """The transformers pipeline that renders with this pipeline's models."""
        portraits = SpeechToPortraitPipeline(
            self.voice_encoder, self.face_space, self.denoiser, self.scheduler, self.restorer
        )
        return TalkingFacePipeline(
            model=self.renderer,
            audio_to_lip=self.audio_to_lip,
            speech_to_portrait=portraits,
            restorer=self.restorer,
            device=self.renderer.device,
        )

    def __call__(  # type: ignore[override]
        self, audio: Any, *, seed: int | None = None, portrait: dict[str, Any] | None = None, **options: Any
    ) -> TalkingFaceClip:
        """Draw a portrait for the voice and render a clip of it.

        Args:
            audio: speech: anything that :class:`~superface_hf.media.SoundReader` takes.
            seed: the seed of the face and of its idle motion.
            portrait: values to use instead of the voice's, such as ``{"age": 60}``; see
                :meth:`SpeechToPortraitPipeline.__call__`.
            options: further arguments of :class:`~superface_hf.TalkingFacePipeline`'s call.

        Returns:
            The clip, with ``portrait`` and ``hearing``.
        """
        clip: TalkingFaceClip = self.talking_face(audio=audio, seed=seed, portrait=portrait, **options)
        return clip
