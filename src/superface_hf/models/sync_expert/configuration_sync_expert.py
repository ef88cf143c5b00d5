"""Configuration of the sync expert."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class SuperFaceSyncExpertConfig(PreTrainedConfig):
    """What the expert compares, over which windows.

    Args:
        sampling_rate: of the sound, in Hz.
        num_mel_bins: bands of the log-mel spectrum.
        hop_length, window_length: step and width of the spectrum's analysis window, in samples.
        min_frequency, max_frequency: lower edge of the lowest and upper edge of the highest band, in Hz.
        mouth_size: coefficients of ``Motion.mouth``.
        frame_rate: windows a second, for sound and mouth; it must take a whole number of hops for each.
        hidden_size: width of both networks.
        dilations: one residual block each, whose three taps are this many frames apart; they make up the length of the
            windows (``window_seconds``).
        embedding_size: numbers that a window becomes.
        dropout: part of the hidden channels left out in training.
    """

    model_type = "superface_sync_expert"

    sampling_rate: int = 16000
    num_mel_bins: int = 64
    hop_length: int = 160
    window_length: int = 400
    min_frequency: float | int = 60.0
    max_frequency: float | int = 7600.0
    mouth_size: int = 30
    frame_rate: float | int = 50.0
    hidden_size: int = 128
    dilations: tuple[int, ...] | list[int] = (1, 2, 4, 6)
    embedding_size: int = 64
    dropout: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.dilations = list(self.dilations)

    @property
    def hops_per_frame(self) -> int:
        """Feature frames to one window step."""
        return round(self.sampling_rate / self.hop_length / self.frame_rate)

    @property
    def window_seconds(self) -> float:
        """How much sound and motion one embedding depends on, centred on its time."""
        return (3 + 2 * sum(self.dilations)) / self.frame_rate

    def validate_architecture(self) -> None:
        """Refuses combinations that cannot work."""
        for name in ("sampling_rate", "hop_length", "frame_rate", "num_mel_bins", "mouth_size", "hidden_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero, got {getattr(self, name)}")
        if self.embedding_size < 2:
            raise ValueError(f"embedding_size must be at least 2 to hold a direction, got {self.embedding_size}")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations needs one whole number above zero for each block, got {self.dilations}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.hops_per_frame < 1 or self.hops_per_frame * self.hop_length * self.frame_rate != self.sampling_rate:
            raise ValueError(
                f"a frame at frame_rate={self.frame_rate:g} must last a whole number of hops of {self.hop_length} samples"
            )
