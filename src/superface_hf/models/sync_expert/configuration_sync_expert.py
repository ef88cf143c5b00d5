"""Configuration of the sync expert."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig

MAX_FRAMES, MAX_HOPS = 4096, 64  # frames in half a window, and hops of a frame


@strict
class SuperFaceSyncExpertConfig(SuperFaceConfig):
    """The configuration of the sync expert: its features, its windows and its size.

    Args:
        sampling_rate: samples a second of the sound.
        num_mel_bins: bands of the log-mel spectrum.
        hop_length, window_length: step and width of the spectrum's analysis window, in samples.
        min_frequency, max_frequency: lower edge of the lowest and upper edge of the highest band, in Hz.
        mouth_size: coefficients of ``Motion.mouth``.
        frame_rate: windows a second, for sound and mouth; it must take a whole number of hops for each.
        hidden_size: width of both networks.
        dilations: one residual block each, whose three taps are this many frames apart; together they give
            ``window_seconds``.
        embedding_size: size of an embedding.
        dropout: share of the hidden channels dropped in training.
    """

    model_type = "superface_sync_expert"
    bounds: ClassVar[Bounds] = {
        "sampling_rate": (1000, 192_000),
        "num_mel_bins": (1, 512),
        "hop_length": (1, 4096),
        "window_length": (2, 4096),
        "min_frequency": (0, 96_000),
        "max_frequency": (0, 96_000),
        "mouth_size": (1, 1024),
        "frame_rate": (1, 1000),
        "hidden_size": (1, 4096),
        "dilations": (1, 4096),
        "embedding_size": (2, 4096),  # a direction needs two numbers
        "dropout": (0, 0.99),
    }

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

    @property
    def hops_per_frame(self) -> int:
        """Feature frames per window step."""
        return round(self.sampling_rate / self.hop_length / self.frame_rate)

    @property
    def window_seconds(self) -> float:
        """The seconds of sound and motion on which one embedding depends, centred on its time."""
        return (3 + 2 * sum(self.dilations)) / self.frame_rate

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        if not self.dilations:
            raise ValueError("dilations needs one whole number above zero for each block, got none")
        if sum(self.dilations) > MAX_FRAMES:
            raise ValueError(f"dilations may add up to {MAX_FRAMES} at most, got {sum(self.dilations)}")
        if (
            not 1 <= self.hops_per_frame <= MAX_HOPS
            or self.hops_per_frame * self.hop_length * self.frame_rate != self.sampling_rate
        ):
            raise ValueError(
                f"a frame at frame_rate={self.frame_rate:g} must last a whole number of hops of {self.hop_length} samples, "
                f"at most {MAX_HOPS}"
            )
