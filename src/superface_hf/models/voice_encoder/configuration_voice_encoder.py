"""Configuration of the voice encoder."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig


@strict
class SuperFaceVoiceEncoderConfig(SuperFaceConfig):
    """Sizes of the network. The embedded weights need the defaults.

    Args:
        mel_bands: bands of the mel spectrogram that it hears.
        hidden_size: of its LSTM layers.
        num_layers: LSTM layers.
        embedding_size: numbers that stand for a voice.
        window_frames: frames of 10 ms that are heard at once; a longer recording is heard in windows that overlap by half.
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
