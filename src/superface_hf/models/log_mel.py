"""The log-mel spectrum that networks hear: its settings, their bounds, and what cannot be combined."""

from __future__ import annotations

from typing import ClassVar

from .configuration import Bounds, SuperFaceConfig

MOST_HOPS = 64  # that a frame is made of


class LogMelConfig(SuperFaceConfig):
    """The base of configurations of networks that hear a log-mel spectrum and know the mouth of ``Motion``.

    Args:
        sampling_rate: of the sound, in Hz.
        num_mel_bins: bands of the spectrum.
        hop_length, window_length: step and width of the analysis window, in samples.
        min_frequency, max_frequency: lower edge of the lowest and upper edge of the highest band, in Hz.
        mouth_size: coefficients of ``Motion.mouth``.
        frame_rate: frames a second inside the network; it must take a whole number of hops for each.
        dilations: one residual block each, whose taps are this many frames apart.
        dropout: part of the hidden channels left out in training.
    """

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
    dilations: tuple[int, ...] | list[int] = (1,)
    dropout: float | int = 0.1

    @property
    def hops_per_frame(self) -> int:
        """Frames of the spectrum to one frame of the network."""
        return round(self.sampling_rate / self.hop_length / self.frame_rate)

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        if not self.dilations:
            raise ValueError("dilations needs one whole number above zero for each block, got none")
        if self.window_length < self.hop_length or self.window_length % 2:
            raise ValueError("window_length must be even and at least hop_length, or sound falls between the windows")
        if not 0 <= self.min_frequency < self.max_frequency <= self.sampling_rate / 2:
            raise ValueError("frequencies must obey 0 <= min_frequency < max_frequency <= sampling_rate / 2")
        whole = self.hops_per_frame * self.hop_length * self.frame_rate == self.sampling_rate
        if not (whole and 1 <= self.hops_per_frame <= MOST_HOPS):
            raise ValueError(
                f"a frame at frame_rate={self.frame_rate:g} must last a whole number of hops of {self.hop_length} samples, "
                f"at most {MOST_HOPS}"
            )
