"""Configuration of the teacher."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class SuperFaceTeacherConfig(PreTrainedConfig):
    """Sizes of the teacher's parts.

    Args:
        image_size: side of the square source crop and of the rendered frame, in pixels. Motion is thought out at an eighth
            of it, so it must be a multiple of 64.
        volume_channels, volume_depth: the appearance volume F_3D holds this many channels at this many depths.
        detail_channels: width of the appearance features at a quarter of the resolution, which carry what the volume is
            too coarse for.
        motion_channels: width of the dense motion network at its finest level; its coarser levels are 1.5x, 2x and 2.5x.
        generator_channels: widths of the generator at 1/8, 1/4 and 1/2 of the resolution.
        landmark_channels: size of the code of the 3D landmarks that joins the motion features late.
        keep_bias: where the mask between warped and generated pixels starts (in logits): above 0 keeps the warped pixel.
    """

    model_type = "superface_teacher"

    image_size: int = 512
    volume_channels: int = 12
    volume_depth: int = 8
    detail_channels: int = 32
    motion_channels: int = 48
    generator_channels: tuple[int, ...] | list[int] = (96, 48, 24)
    landmark_channels: int = 128
    keep_bias: float = 1.5

    def __post_init__(self, **kwargs: object) -> None:
        super().__post_init__(**kwargs)
        self.generator_channels = list(self.generator_channels)

    def validate_architecture(self) -> None:
        if self.image_size % 64:
            raise ValueError(f"image_size must be a multiple of 64, got {self.image_size}")
        if len(self.generator_channels) != 3:
            raise ValueError(f"generator_channels needs three widths, got {self.generator_channels}")
