"""Configuration of the inpainter."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig


@strict
class SuperFaceInpainterConfig(SuperFaceConfig):
    """The configuration of the inpainter: its width and depth.

    Args:
        working_size: longer side of the training pictures, in pixels; larger pictures are reduced first.
        channels: channels at full, half, a fourth and an eighth of the resolution.
        bottleneck: channels inside each block at an eighth of the resolution.
        dilations: one block each, whose taps are this many pixels apart; each block also mixes frequencies of the whole
            picture.
    """

    model_type = "superface_inpainter"
    bounds: ClassVar[Bounds] = {
        "working_size": (32, 1024), "channels": (1, 1024), "bottleneck": (1, 1024), "dilations": (1, 64),
    }  # fmt: skip

    working_size: int = 384
    channels: tuple[int, ...] | list[int] = (24, 48, 96, 192)
    bottleneck: int = 96
    dilations: tuple[int, ...] | list[int] = (1, 2, 4, 8, 1, 2, 4, 8)

    def validate_architecture(self) -> None:
        """Refuse combinations that cannot work."""
        super().validate_architecture()
        self.check_lengths(4, "channels")
        if not self.dilations:
            raise ValueError("dilations needs at least one number")
