"""Configuration of the lip reader."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig

# What lips show of speech: groups of sounds that look alike, and "rest", when nothing is said.
VISEMES = ("rest", "closed", "labiodental", "dental", "postalveolar", "round", "spread", "open", "back")
MAX_FRAMES = 512  # to each side of the frame that is read


@strict
class SuperFaceLipReaderConfig(SuperFaceConfig):
    """The configuration of the lip reader.

    Args:
        frame_rate: pictures a second.
        channels: widths of the convolutions over a picture. The first makes it smaller by four, the others halve it.
        hidden_size: width of the network over time.
        dilations: one residual block over time each, whose three taps are this many frames apart.
        dropout: part of the hidden channels left out in training.
    """

    model_type = "superface_lip_reader"
    bounds: ClassVar[Bounds] = {
        "frame_rate": (1, 1000),
        "channels": (1, 1024),
        "hidden_size": (1, 4096),
        "dilations": (1, MAX_FRAMES),
        "dropout": (0, 0.99),
    }

    frame_rate: float | int = 25.0
    channels: tuple[int, ...] | list[int] = (48, 96, 128)
    hidden_size: int = 128
    dilations: tuple[int, ...] | list[int] = (1, 2, 3)
    dropout: float | int = 0.2

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        self.check_lengths(3, "channels")
        if not self.dilations:
            raise ValueError("dilations needs one whole number above zero for each block, got none")
        if sum(self.dilations) > MAX_FRAMES:
            raise ValueError(f"dilations may add up to {MAX_FRAMES} at most, got {sum(self.dilations)}")
