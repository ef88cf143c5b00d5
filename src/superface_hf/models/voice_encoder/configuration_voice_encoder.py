"""Configuration of the voice encoder."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig


@strict
class SuperFaceVoiceEncoderConfig(SuperFaceConfig):
    """The configuration of the voice encoder: the sizes of its network. The embedded weights need the defaults.

    Args:
        mel_bands: bands of the mel spectrogram.
        hidden_size: size of the LSTM layers.
        num_layers: number of LSTM layers.
        embedding_size: size of an embedding.
        window_frames: frames of 10 ms in a window; a longer recording is split into windows that overlap by half.
    """

    model_type = "superface_voice_encoder"
    bounds: ClassVar[Bounds] = {
        "mel_bands": (8, 256),
        "hidden_size": (4, 2048),
        "num_layers": (1, 8),
        "embedding_size": (4, 2048),
        "window_frames": (20, 1000),
    }

    mel_bands: int = 40
    hidden_size: int = 256
    num_layers: int = 3
    embedding_size: int = 256
    window_frames: int = 160
