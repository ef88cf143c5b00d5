"""Configuration of the matte network."""

from __future__ import annotations

from typing import ClassVar

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig


@strict
class SuperFaceMatteConfig(SuperFaceConfig):
    """The configuration of the matte network: the size of its input.

    Args:
        image_size: side of the square picture, in pixels; a multiple of 16.
    """

    model_type = "superface_matte"
    bounds: ClassVar[Bounds] = {"image_size": (32, 1024)}

    image_size: int = 256

    def validate_architecture(self) -> None:
        """Refuse sizes that the network cannot process."""
        super().validate_architecture()
        self.check_multiples(16, "image_size")
