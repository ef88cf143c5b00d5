"""SCFP as a diffusers pipeline: speech to a made-up portrait that suits the voice."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor
from transformers.utils import logging

from ..errors import SuperFaceError, UnknownNameError
from ..hub import WEIGHTS
from ..media import SoundReader
from ..models.face_space.modeling_face_space import FaceSpace
from ..models.face_space.prior import Group
from ..models.restorer.face_region import restore_face
from ..models.restorer.fidelity import check_fidelity
from ..models.restorer.modeling_restorer import CodebookRestorer
from ..models.speech_to_portrait.modeling_portrait_denoiser import PortraitDenoiser
from ..models.voice_encoder.modeling_voice_encoder import Hearing, SuperFaceVoiceEncoderModel
from ..models.voice_encoder.voice import heard_part
from ..provenance.marks import DISCLAIMER
from .carded import CardedPipeline

logger = logging.get_logger(__name__)

EMBEDDED = WEIGHTS / "speech_to_portrait"
PRESENTATIONS = {"feminine": 0.0, "androgynous": 0.5, "masculine": 1.0}
SIZES = 64, 2048  # pixels
MAX_IMAGES = 64
UNCLEAR = 0.5  # the least probability that the sound is a voice
NOTHING_HEARD = Hearing(0.5, 40.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PortraitHearing(Hearing):
    """What was heard in a voice, and what was drawn for it.

    Attributes:
        beta: how far the voice moved the face away from the mean one, 0 to 1 (SAW).
        drawn: presentation, age and tone of the first picture.
        seed: the seed of the pictures, if it is known.
        disclaimer: what such a picture is, and is not; show it with the picture.
    """

    beta: float = 0.0
    drawn: Group | None = None
    seed: int | None = None
    disclaimer: str = DISCLAIMER


@dataclass
class SpeechToPortraitOutput(BaseOutput):
    """The drawn portraits.

    Attributes:
        images: PIL images, or arrays (H, W, 3) uint8 with ``output_type="np"``.
        landmarks: (478, 3) float32 in pixels, one array a picture.
        alphas: (H, W) float32, the person's share of each pixel.
        latents: (N, D) latents of the face space.
        hearing: what was heard, and what was drawn for it.
    """

    images: list[Any]
    landmarks: list[np.ndarray]
    alphas: list[np.ndarray]
    latents: Tensor
    hearing: PortraitHearing


class SpeechToPortraitPipeline(CardedPipeline):
    """Draws made-up portraits that suit a voice.

    Only presentation and age are taken from the voice; everything else is drawn at random. See
    :data:`superface_hf.provenance.marks.DISCLAIMER`, which comes with every result.

    Args:
        voice_encoder: predicts presentation and age from a voice.
        face_space: turns latents into pictures, as an autoencoder would.
        denoiser: denoises latents around the prior.
        scheduler: a scheduler with ``prediction_type="sample"``.
        restorer: gives the faces detail, for ``restore=True``; optional.
    """

    embedded_folder = EMBEDDED
    _optional_components: ClassVar[list[str]] = ["restorer"]
    voice_encoder: SuperFaceVoiceEncoderModel
    face_space: FaceSpace
    denoiser: PortraitDenoiser
    scheduler: DDIMScheduler
    restorer: CodebookRestorer | None

    def __init__(
        self,
        voice_encoder: SuperFaceVoiceEncoderModel,
        face_space: FaceSpace,
        denoiser: PortraitDenoiser,
        scheduler: DDIMScheduler,
        restorer: CodebookRestorer | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            voice_encoder=voice_encoder,
            face_space=face_space,
            denoiser=denoiser,
            scheduler=scheduler,
            restorer=restorer,
        )

    @classmethod
    def embedded(cls, restorer: CodebookRestorer | str | os.PathLike[str] | None = None) -> Any:
        """Return the pipeline with the embedded weights.

        Args:
            restorer: another restorer: a model, or the folder or Hub id of one.

        Raises:
            SuperFaceError: it cannot be loaded.
        """
        from ..hub.quiet import quiet_loading
        from ..models.embedded import load_restorer

        with quiet_loading():
            hears = SuperFaceVoiceEncoderModel.from_pretrained(EMBEDDED / "voice_encoder", dtype=torch.float32)
        pipe = cls(
            hears.eval(),
            FaceSpace.from_pretrained(EMBEDDED / "face_space"),
            PortraitDenoiser.from_pretrained(EMBEDDED / "denoiser"),
            DDIMScheduler.from_pretrained(EMBEDDED / "scheduler"),
            load_restorer(restorer),
        )
        pipe.is_embedded = restorer is None
        return pipe

    def hear(self, audio: Any, sampling_rate: float | None = None) -> Hearing:
        """Return the presentation and age heard in a recording; ``audio`` is anything that
        :class:`~superface_hf.media.SoundReader` takes.

        Raises:
            MediaError: it cannot be read.
        """
        reader = audio if isinstance(audio, SoundReader) else SoundReader(audio, sampling_rate)
        return self.voice_encoder.hear(heard_part(reader))

    def _heard(self, audio: Any, sampling_rate: float | None) -> Hearing:
        return audio if isinstance(audio, Hearing) else self.hear(audio, sampling_rate)

    @torch.inference_mode()
    def __call__(
        self,
        audio: Any = None,
        *,
        sampling_rate: float | None = None,
        num_images: int = 1,
        num_inference_steps: int = 10,
        temperature: float = 0.7,
        beta: float | None = None,
        presentation: str | float | None = None,
        age: float | None = None,
        tone: float | None = None,
        generator: torch.Generator | None = None,
        size: int = 512,
        restore: bool = False,
        fidelity: float = 0.5,
        output_type: str = "pil",
    ) -> SpeechToPortraitOutput:
        """Draw portraits.

        Args:
            audio: speech: anything that :class:`~superface_hf.media.SoundReader` takes, or the result of :meth:`hear`. None
                draws without a voice.
            sampling_rate: samples per second of an ``audio`` that does not include its rate.
            num_images: the number of portraits, all for the same voice.
            num_inference_steps: steps of the scheduler.
            temperature: how different from the prior faces are, 0 (always the prior's own) to 1 (as different as people).
            beta: how far the prior moves from the mean face toward what was heard, 0 to 1; by default it follows from the
                length and the clarity of the voice (SAW).
            presentation: "feminine", "androgynous", "masculine", or a number from 0 to 1: used instead of the voice's.
            age: years, 18 to 90: used instead of the voice's.
            tone: skin tone, 0 the lightest to 1 the darkest; by default random, and never taken from the voice.
            generator: the random generator of the drawing. None takes a new seed.
            size: side of the pictures, pixels.
            restore: whether the restorer takes grain off the faces and sharpens their edges; irises become softer.
            fidelity: how close to the drawing a restored face stays, 0 to 1.
            output_type: "pil" or "np".

        Raises:
            MediaError: the sound cannot be read.
            UnknownNameError: a presentation that does not exist.
            SuperFaceError: a number is out of its range, or there is no restorer.
        """
        given = _checked_group(presentation, age, tone)
        _check_numbers(num_images, num_inference_steps, temperature, beta, size)
        check_fidelity(fidelity)
        if restore and self.restorer is None:
            raise SuperFaceError(
                "restore=True needs a restorer: give the pipeline restorer=CodebookRestorer.from_pretrained(folder or Hub id)."
            )
        if output_type not in ("pil", "np"):
            raise UnknownNameError(f'output_type must be "pil" or "np", not {output_type!r}.')
        heard = NOTHING_HEARD if audio is None else self._heard(audio, sampling_rate)
        if audio is not None and heard.voice < UNCLEAR:
            logger.warning(
                "No clear voice was heard: the portrait is drawn around the mean face. Pass a recording of one person who "
                "speaks, or presentation= and age=."
            )
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.seed()) % 2**63)
        seed = generator.initial_seed()
        weight = self._beta(heard, beta, audio)
        groups = [self._group(heard, weight, given, generator) for _ in range(num_images)]
        features = torch.stack([group.features for group in groups])
        latents = self._denoised(features, num_inference_steps, temperature, generator)
        drawn = self.face_space.decode(latents, features, size, generator)
        pictures = [portrait.picture for portrait in drawn]
        if restore and self.restorer is not None:
            pictures = [restore_face(self.restorer, each.picture, each.landmarks, fidelity) for each in drawn]
        hearing = PortraitHearing(**vars(heard), beta=weight, drawn=groups[0], seed=seed)
        return SpeechToPortraitOutput(
            images=[Image.fromarray(picture) for picture in pictures] if output_type == "pil" else pictures,
            landmarks=[portrait.landmarks for portrait in drawn],
            alphas=[portrait.alpha for portrait in drawn],
            latents=latents,
            hearing=hearing,
        )

    def _beta(self, heard: Hearing, beta: float | None, audio: Any) -> float:
        """Return SAW's weight, or the given one."""
        if audio is None:
            return 0.0
        if beta is not None:
            return float(beta)
        return 0.0 if heard.voice < UNCLEAR else self.denoiser.beta(heard.seconds, heard.certainty)

    def _group(self, heard: Hearing, beta: float, given: dict[str, float], generator: torch.Generator) -> Group:
        """Return the group of z_prior: the mean, moved by ``beta`` toward what was heard, with given values as they are."""
        presentation, age = self.denoiser.group(heard.presentation, heard.age, beta)
        # The tone is always drawn, so that a given tone does not change the other random numbers.
        tone = float(torch.rand((), generator=generator))
        return Group(**{"presentation": presentation, "age": age, "tone": tone, **given})

    def _denoised(self, features: Tensor, steps: int, temperature: float, generator: torch.Generator) -> Tensor:
        """Return denoised latents r (N, D), from noise that ``temperature`` scales."""
        self.scheduler.set_timesteps(steps)
        noisy = temperature * torch.randn(len(features), self.denoiser.config.latent_size, generator=generator)
        for step in self.scheduler.timesteps:
            kept = self.scheduler.alphas_cumprod[int(step)].expand(len(features)).float()
            estimate = self.denoiser(noisy, kept, features)
            noisy = self.scheduler.step(estimate, step, noisy, eta=0.0).prev_sample
        return noisy


def default_scheduler() -> DDIMScheduler:
    """Return a scheduler with a cosine schedule that ends in pure noise."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def _checked_group(presentation: str | float | None, age: float | None, tone: float | None) -> dict[str, float]:
    """Return the given values of the group.

    Raises:
        UnknownNameError, SuperFaceError: a value is impossible.
    """
    given: dict[str, float] = {}
    if isinstance(presentation, str):
        if presentation not in PRESENTATIONS:
            raise UnknownNameError(
                f"There is no presentation {presentation!r}: it is one of {', '.join(PRESENTATIONS)}, or a number from 0 "
                "(feminine) to 1 (masculine)."
            )
        given["presentation"] = PRESENTATIONS[presentation]
    elif presentation is not None:
        given["presentation"] = float(presentation)
    if age is not None:
        given["age"] = float(age)
    if tone is not None:
        given["tone"] = float(tone)
    replace(Group(0.5, 40.0), **given)  # raises for values out of range
    return given


def _check_numbers(num_images: int, steps: int, temperature: float, beta: float | None, size: int) -> None:
    ranges: dict[str, tuple[float | None, float, float]] = {
        "num_images": (num_images, 1, MAX_IMAGES),
        "num_inference_steps": (steps, 1, 1000),
        "temperature": (temperature, 0, 1.5),
        "beta": (beta, 0, 1),
        "size": (size, *SIZES),
    }
    for name, (value, low, high) in ranges.items():
        if value is not None and not low <= value <= high:
            raise SuperFaceError(f"{name} must be from {low:g} to {high:g}, not {value}.")
