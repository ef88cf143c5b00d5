"""Speech to motion by diffusion, as a diffusers pipeline: for a whole sound, or in windows as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, SchedulerMixin
from diffusers.utils import BaseOutput

from ..drivers.audio import warn_if_silent
from ..drivers.diffusion import Diffusion, follow_changes
from ..drivers.loudness import LoudnessNormalizer, speech_level
from ..hub import WEIGHTS
from ..media import load_sound
from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ..models.embedded import embedded_audio_to_lip
from ..models.speech_to_motion.denoiser import MotionDenoiser
from ..models.speech_to_motion.lip_refiner import LipRefiner
from ..models.speech_to_motion.motion_statistics import MotionStatistics
from ..models.speech_to_motion.performance import GUIDANCE, MOVED, Performance
from ..motion import Motion
from .carded import CardedPipeline


@dataclass
class SpeechToMotionOutput(BaseOutput):
    """The output: ``motion`` holds changes from a face at rest (no change is zero, and a scale of 1), and the absolute
    mouth."""

    motion: Motion


class SpeechToMotionPipeline(CardedPipeline):
    """HRTF: a face's motion (head, eyes, brows, gaze; lips by audio-to-lip, refined) from a recording of speech.

    Args:
        denoiser: M_diff, the network.
        statistics: scales, styles and emotions.
        lip_refiner: predicts offsets to audio-to-lip's mouth; its ``config.gate`` may be 0.
        audio_to_lip: predicts the mouth, and extracts the network's audio features.
        scheduler: the noise scheduler; the network predicts the clean sample.
    """

    model_cpu_offload_seq = "denoiser"
    embedded_folder = WEIGHTS / "speech_to_motion"

    def __init__(
        self,
        denoiser: MotionDenoiser,
        statistics: MotionStatistics,
        lip_refiner: LipRefiner,
        audio_to_lip: SuperFaceAudioToLipModel,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        self.register_modules(
            denoiser=denoiser,
            statistics=statistics,
            lip_refiner=lip_refiner,
            audio_to_lip=audio_to_lip,
            scheduler=scheduler,
        )

    @classmethod
    def embedded(cls, device: str | torch.device = "cpu") -> SpeechToMotionPipeline:
        """Return the pipeline with the embedded weights."""
        folder = cls.embedded_folder
        parts = {
            name: kind.from_pretrained(folder / name, dtype=torch.float32).eval()
            for name, kind in (
                ("denoiser", MotionDenoiser),
                ("statistics", MotionStatistics),
                ("lip_refiner", LipRefiner),
            )
        }
        scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
        pipe = cls(**parts, audio_to_lip=embedded_audio_to_lip(), scheduler=scheduler).to(device)
        pipe.is_embedded = True
        return pipe

    @torch.inference_mode()
    def __call__(
        self,
        audio: Any,
        sampling_rate: float | None = None,
        fps: float = 25.0,
        num_inference_steps: int = 12,
        guidance_scale: float = GUIDANCE,
        style: Motion | str | None = None,
        emotion: Mapping[str, float] | str | None = None,
        strength: float = 1.0,
        regions: Sequence[str] = MOVED,
        previous: Motion | None = None,
        generator: torch.Generator | None = None,
    ) -> SpeechToMotionOutput:
        """Generate the motion of a face that speaks a sound.

        Args:
            audio, sampling_rate: as :func:`~superface_hf.media.load_sound` takes them.
            fps: frame rate of the motion.
            num_inference_steps, guidance_scale, style, emotion, strength, regions: see :class:`Performance`.
            previous: the preceding output of this pipeline, whose last frames the motion continues.
            generator: the random generator; None gives another motion each time.

        Returns:
            ``.motion`` of ``max(1, round(seconds * fps))`` frames.

        Raises:
            MediaError: the sound cannot be read or is empty.
            MotionError, UnknownNameError: a setting does not fit.
        """
        performance = Performance(num_inference_steps, guidance_scale, style, emotion, strength, regions)
        rate = self.audio_to_lip.config.sampling_rate
        samples = load_sound(audio, sampling_rate).mono(rate)
        warn_if_silent(float(np.abs(samples).max(initial=0)))
        level = speech_level([samples], rate)
        diffusion, own_rate = Diffusion(self, performance, seed_of(generator)), fps == self.denoiser.config.fps
        motion = Motion.concatenate(list(follow_changes([samples], fps, diffusion, level, previous, spoken=own_rate)))
        if not own_rate:
            mouth = self.audio_to_lip.predict(LoudnessNormalizer(rate, level).push(samples), fps)
            motion = replace(motion, mouth=mouth + motion.mouth)
        return SpeechToMotionOutput(motion=motion)


def seed_of(generator: torch.Generator | None) -> int:
    """Return the seed from which the noise of all windows is drawn."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**62, (1,), generator=generator, device=device))
