"""The voice encoder: three LSTM layers that embed voices, and heads for presentation, age and voice.

The network and its weights are those of Resemblyzer (https://github.com/resemble-ai/Resemblyzer, Apache-2.0), an
implementation of "Generalized End-to-End Loss for Speaker Verification" (Wan et al. 2018). The heads are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from ...hub.model import HubMixin
from .configuration_voice_encoder import SuperFaceVoiceEncoderConfig
from .voice import HOP, RATE, mel_spectrogram, spoken, windows_of

ENOUGH = 3.0  # seconds of voice with which the certainty reaches half of its limit


@dataclass(frozen=True)
class Hearing:
    """What was heard in a recording about the speaker. Nothing else is heard: no identity, origin, skin or hair.

    Attributes:
        presentation: 0 feminine to 1 masculine, as the voice sounds to the network.
        age: years.
        presentation_certainty, age_certainty: 0 (unknown) to 1.
        seconds: the seconds of voice that were heard.
        voice: the probability that this is a voice, 0 to 1.
    """

    presentation: float
    age: float
    presentation_certainty: float
    age_certainty: float
    seconds: float
    voice: float

    @property
    def certainty(self) -> float:
        """The reliability of the recording, 0 to 1: it is a voice, and long enough."""
        return self.voice * self.seconds / (self.seconds + ENOUGH)


@dataclass
class SuperFaceVoiceEncoderOutput(ModelOutput):
    """The output of the voice encoder.

    Attributes:
        embeddings: (B, 256) of length 1.
    """

    embeddings: Tensor | None = None


class SuperFaceVoiceEncoderModel(HubMixin, PreTrainedModel):
    """Embeds voices, and predicts a :class:`Hearing` from them."""

    config_class = SuperFaceVoiceEncoderConfig
    main_input_name = "mel"

    age_scale: Tensor
    age_error: Tensor
    heads: nn.Linear

    def __init__(self, config: SuperFaceVoiceEncoderConfig) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(config.mel_bands, config.hidden_size, config.num_layers, batch_first=True)
        self.linear = nn.Linear(config.hidden_size, config.embedding_size)
        # Presentation (a logit), age (in standard deviations of the training people's), and whether it is a voice (a logit).
        self.heads = nn.Linear(config.embedding_size, 3)
        self.register_buffer("age_scale", torch.tensor([40.0, 12.0]))  # mean and spread, years
        self.register_buffer("age_error", torch.tensor([12.0]))  # years: spread of the true age around the heard one
        self.post_init()

    def forward(self, mel: Tensor) -> SuperFaceVoiceEncoderOutput:
        """Embed windows.

        Args:
            mel: (B, frames, bands), see :func:`~superface_hf.models.voice_encoder.voice.mel_spectrogram`.
        """
        _, (hidden, _) = self.lstm(mel)
        raw = torch.relu(self.linear(hidden[-1]))
        return SuperFaceVoiceEncoderOutput(embeddings=nn.functional.normalize(raw, dim=1))

    @torch.inference_mode()
    def embed(self, samples: np.ndarray) -> tuple[Tensor, float]:
        """Embed the speech in a recording (N,) float32 at 16 kHz.

        Returns:
            The windows' embeddings (W, 256), W = 0 where nothing is loud enough, and the seconds that were heard.
        """
        part = spoken(samples)
        if len(part) < HOP:
            return torch.zeros(0, self.config.embedding_size, device=self.device), 0.0
        mel = mel_spectrogram(torch.from_numpy(part).to(self.device), self.config.mel_bands)
        windows = windows_of(mel, self.config.window_frames).to(self.dtype)
        embeddings = self(windows).embeddings
        assert embeddings is not None
        return embeddings.float(), len(part) / RATE

    @torch.inference_mode()
    def hear(self, samples: np.ndarray) -> Hearing:
        """Predict presentation and age of the speaker of a recording (N,) float32 at 16 kHz."""
        embeddings, seconds = self.embed(samples)
        mean_age, spread_age = (float(value) for value in self.age_scale)
        if not len(embeddings):
            return Hearing(0.5, mean_age, 0.0, 0.0, 0.0, 0.0)
        answers = self.heads.float()(embeddings)  # (W, 3)
        voice = torch.sigmoid(answers[:, 2])
        share = float(voice.mean())
        weights = voice / voice.sum().clamp_min(1e-6)
        one = nn.functional.normalize((weights[:, None] * embeddings).sum(0), dim=0)
        logit, age, _ = self.heads.float()(one)
        presentation = float(torch.sigmoid(logit))
        years = mean_age + spread_age * float(age)
        doubt = float(self.age_error) / max(spread_age, 1e-6)
        heard = Hearing(presentation, years, 0.0, 0.0, share * seconds, share)
        return Hearing(
            presentation,
            float(np.clip(years, 18.0, 90.0)),
            abs(2 * presentation - 1) * heard.certainty,
            max(0.0, 1 - doubt**2) ** 0.5 * heard.certainty,
            heard.seconds,
            share,
        )
