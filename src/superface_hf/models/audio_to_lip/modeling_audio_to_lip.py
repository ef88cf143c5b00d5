"""The audio-to-lip model: predicts the mouth from speech.

A causal network processes log-mel features at 50 frames a second. Frame k is predicted when the features of frame
k + look_ahead_frames are known. This delay is the only look-ahead: the layers themselves use past frames only, and a stream
keeps only their pasts.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import MediaError, SuperFaceError
from ...hub.failures import BadConfiguration
from ...hub.model import HubMixin
from ...motion.motion import check_fps
from .configuration_audio_to_lip import SuperFaceAudioToLipConfig
from .feature_extraction_audio_to_lip import SILENCE, SuperFaceAudioToLipFeatureExtractor, check_samples
from .network import LipNetwork
from .speech_encoder import build_encoder, encode, encode_blocks
from .streaming import AudioToLipStream, MouthTrack

PREDICT_SECONDS = 10  # seconds of sound that the network processes at once


@dataclass
class AudioToLipOutput(ModelOutput):
    """The output of audio-to-lip.

    Attributes:
        mouth: (B, T', mouth_size) coefficients of ``Motion.mouth`` in standard deviations, absolute, as on a neutral face
            (zero, the neutral mouth, leaves the lips slightly apart).
            Frame k is the mouth at ``k / config.frame_rate`` seconds.
        attention_mask: (B, T') 1 where a frame belongs to the row's sound; None if no mask was given.
    """

    mouth: Tensor | None = None
    attention_mask: Tensor | None = None


class SuperFaceAudioToLipModel(HubMixin, PreTrainedModel):
    """Predicts the mouth region of ``Motion`` from speech, for whole files or streamed.

    ``predict`` and ``stream`` take samples and extract the features with ``feature_extractor``, which follows from the
    configuration. ``forward`` takes features and is for training. Before the first and after the last feature frame the model
    sees features of silence, so padding a sound with zeros changes nothing if its edges are quiet.

    For a configuration that names an ``audio_encoder`` without its ``audio_encoder_config``, the encoder's pretrained weights
    are loaded; a saved checkpoint holds both and needs no second download.

    Raises:
        SuperFaceError: the named ``audio_encoder`` does not take raw waveforms.
    """

    config_class = SuperFaceAudioToLipConfig
    config: SuperFaceAudioToLipConfig
    main_input_name = "input_features"
    default_dtype = torch.float32

    def __init__(self, config: SuperFaceAudioToLipConfig) -> None:
        encoder = None if config.audio_encoder is None else build_encoder(config)
        if encoder is not None and config.audio_encoder_config is None:
            config = copy.deepcopy(
                config
            )  # do not change the caller's configuration, which would build an encoder without weights next time
            config.audio_encoder_config = encoder.config.to_dict()
        super().__init__(config)
        self.feature_extractor = SuperFaceAudioToLipFeatureExtractor.of(config)
        self.audio_encoder = encoder
        self._in_size = config.hops_per_frame * config.num_mel_bins if encoder is None else encoder.config.hidden_size
        self.network = LipNetwork(config, self._in_size)
        self.post_init()
        self.train()  # freezes the encoder

    @classmethod
    def check_config(cls, config: SuperFaceAudioToLipConfig) -> None:
        """Refuse a checkpoint that names another model as its encoder: loading must not follow an untrusted id."""
        if config.audio_encoder is not None and config.audio_encoder_config is None:
            raise BadConfiguration("it names an audio_encoder without its audio_encoder_config: save the model again")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            small = module.out_features == self.config.mouth_size  # starts near the neutral mouth
            init.normal_(module.weight, std=0.02 if small else module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save the model, and the feature extractor beside it, for ``AutoFeatureExtractor``."""
        if self.audio_encoder is None:
            self.feature_extractor.save_pretrained(save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)

    def train(self, mode: bool = True) -> SuperFaceAudioToLipModel:
        """Set the training mode; a frozen encoder stays in evaluation mode, because its dropout would only add noise.

        ``from_pretrained`` replaces the parameters and then calls this method, which switches off their gradients.
        """
        super().train(mode)
        if self.audio_encoder is not None and self.config.freeze_audio_encoder:
            self.audio_encoder.eval().requires_grad_(False)
        return self

    @property
    def rest_value(self) -> float:
        """The value of the features in silence."""
        return SILENCE if self.audio_encoder is None else 0.0

    def rest_frame(self, batch: int = 1) -> Tensor:
        """Return one inner frame (batch, 1, in) of features without sound."""
        return torch.full((batch, 1, self._in_size), self.rest_value, device=self.device, dtype=self.dtype)

    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None) -> AudioToLipOutput:
        """Predict the mouths of a batch of features; used in training.

        Args:
            input_features: (B, T, num_mel_bins) from the feature extractor; with an ``audio_encoder`` (B, N) waveforms.
            attention_mask: (B, T) or (B, N), 1 where a row has sound, from its start on. The rest counts as silence,
                so a row's frames do not depend on the batch.

        Returns:
            ``mouth`` (B, T', mouth_size) with T' = ceil(T / hops_per_frame) or ceil(N / samples_per_frame).
        """
        step = self.config.hops_per_frame if self.audio_encoder is None else self.config.samples_per_frame
        frame_mask = None if attention_mask is None else attention_mask[:, ::step]
        if self.audio_encoder is None:
            features = self._stacked(input_features, attention_mask)
        else:
            features = self._encoded(input_features, attention_mask, frame_mask)
        rest = self.rest_frame(features.shape[0]).to(features.dtype)
        ahead = self.config.look_ahead_frames
        features = torch.cat((features, rest.expand(-1, ahead, -1)), dim=1)
        mouth, _ = self.network(features, self.network.rest_state(rest))
        return AudioToLipOutput(mouth=mouth[:, ahead:], attention_mask=frame_mask)

    def predict(self, samples: np.ndarray, fps: float, frames: int | None = None) -> np.ndarray:
        """Predict the mouth over a whole sound of any length, in constant memory besides samples and result.

        The model should be in evaluation mode, as it is after ``from_pretrained``.

        Args:
            samples: (N,) float in [-1, 1] at ``config.sampling_rate``.
            fps: frames a second wanted, any above zero.
            frames: the number of frames; by default ``max(1, round(N / sampling_rate * fps))``. Frames beyond the sound
                are those of silence.

        Returns:
            (F, mouth_size) float32; frame k is the mouth at ``k / fps`` seconds.

        Raises:
            MediaError: the samples are empty, not one-dimensional, not finite, or integers.
            MotionError: ``fps`` is not above zero.
        """
        check_fps(fps)
        samples = check_samples(samples)
        if len(samples) == 0:
            raise MediaError("The sound is empty: it has no samples.")
        if frames is None:
            frames = max(1, round(len(samples) / self.config.sampling_rate * fps))
        if self.audio_encoder is not None:
            return self._predict_encoded(samples, fps, frames)
        stream = self.stream(fps)
        block = PREDICT_SECONDS * self.config.sampling_rate
        parts = [stream.push(samples[start : start + block]) for start in range(0, len(samples), block)]
        return np.concatenate((*parts, stream.flush(frames)))[:frames]

    def stream(self, fps: float) -> AudioToLipStream:
        """Return a stream that predicts mouth frames while the sound comes; joined they equal ``predict``.

        Raises:
            MotionError: ``fps`` is not above zero.
            SuperFaceError: the model has an ``audio_encoder``, which needs the following sound.
        """
        if self.audio_encoder is not None:
            raise SuperFaceError(
                f"The audio_encoder {self.config.audio_encoder!r} attends over the whole sound and cannot be streamed: use "
                "predict(), or a model with the embedded log-mel features (audio_encoder=None)."
            )
        return AudioToLipStream(self, fps)

    def _stacked(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Stack the hops of each inner frame: (B, T, mels) -> (B, T', hops * mels), with silence where there is no sound."""
        features = features.to(self.dtype)
        if mask is not None:
            features = torch.where(mask[..., None].bool(), features, self.rest_value)
        hops = self.config.hops_per_frame
        features = F.pad(features, (0, 0, 0, -features.shape[1] % hops), value=self.rest_value)
        return features.reshape(features.shape[0], features.shape[1] // hops, -1)

    def _encoded(self, waveforms: Tensor, mask: Tensor | None, frame_mask: Tensor | None) -> Tensor:
        assert self.audio_encoder is not None
        lengths = waveforms.new_full((waveforms.shape[0],), waveforms.shape[1], dtype=torch.long)
        if mask is not None:
            lengths = mask.sum(1).long()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_audio_encoder):
            features = encode(self.audio_encoder, waveforms.to(self.dtype), lengths, self.config.samples_per_frame)
        return features if frame_mask is None else torch.where(frame_mask[..., None].bool(), features, self.rest_value)

    @torch.inference_mode()
    def _predict_encoded(self, samples: np.ndarray, fps: float, frames: int) -> np.ndarray:
        assert self.audio_encoder is not None
        track = MouthTrack(self, fps)
        parts = [track.feed(block, frames) for block in encode_blocks(self.audio_encoder, samples, self.config)]
        return np.concatenate((*parts, track.finish(frames)))


__all__ = ["AudioToLipOutput", "SuperFaceAudioToLipModel"]
