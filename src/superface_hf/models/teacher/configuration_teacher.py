"""Configuration of the teacher."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig, of_size

TeacherSize = Literal["tiny", "base", "large"]
LARGEST_VOLUME = 2048  # channels times depths at each position of the plane

# The differences from the defaults, which are ``base``.
_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 128,
        "volume_channels": 4,
        "volume_depth": 4,
        "detail_channels": 8,
        "motion_channels": 16,
        "generator_channels": [16, 16, 8],
        "mouth_channels": [8, 8, 16],
        "eye_channels": [8, 8, 16],
        "restorer_channels": [8, 8],
        "code_channels": 16,
    },
    "base": {},
    # The volume of one-shot 3D talking heads: 32 channels at 16 depths. Trained on a GPU.
    "large": {
        "volume_channels": 32,
        "volume_depth": 16,
        "volume_blocks": 4,
        "detail_channels": 64,
        "motion_channels": 128,
        "generator_channels": [256, 128, 64],
        "restorer_channels": [128, 192],
        "code_channels": 256,
    },
}


@strict
class SuperFaceTeacherConfig(SuperFaceConfig):
    """The configuration of the teacher: the sizes of its parts.

    Args:
        image_size: side of the square source crop and of the rendered window, in pixels. Motion is predicted at an
            eighth of it, so it must be a multiple of 64. The person's own pixels have the picture's resolution.
        volume_channels, volume_depth: the numbers of channels and depths of the appearance volume F_3D.
        volume_blocks: residual blocks that refine the volume before it is warped, and again after.
        detail_channels: width of the appearance features at a quarter of the resolution, which are finer than the volume.
        motion_channels: width of the dense motion network at its finest level; its coarser levels are 1.5x, 2x and 2.5x.
        generator_channels: widths of the generator at 1/8, 1/4 and 1/2 of the resolution.
        mouth_channels, eye_channels: widths of the painters of mouth and eyes at 1/2, 1/4 and 1/8 of their windows'
            resolution.
        restorer_channels: widths of the source's restorer at 1/4 and 1/8 of the resolution.
        code_channels: size of the motion representations p_s and p_d.
        keep_bias: initial logit of the mask between warped and generated pixels; above 0 it keeps the warped pixel.
        early_mesh: whether networks see the drawn meshes beside the pixels (the early half of the motion-enhancing
            mechanism).
        late_landmarks: whether the 3D landmarks join the motion representations (its late half).
    """

    model_type = "superface_teacher"
    bounds: ClassVar[Bounds] = {
        "image_size": (64, 1024),
        "volume_channels": (1, 256),
        "volume_depth": (2, 64),
        "volume_blocks": (0, 32),
        "detail_channels": (1, 1024),
        "motion_channels": (1, 1024),
        "generator_channels": (1, 2048),
        "mouth_channels": (1, 1024),
        "eye_channels": (1, 1024),
        "restorer_channels": (1, 2048),
        "code_channels": (1, 4096),
        "keep_bias": (-20, 20),
    }

    image_size: int = 512
    volume_channels: int = 12
    volume_depth: int = 8
    volume_blocks: int = 1
    detail_channels: int = 32
    motion_channels: int = 48
    generator_channels: tuple[int, ...] | list[int] = (96, 48, 24)
    mouth_channels: tuple[int, ...] | list[int] = (32, 64, 96)
    eye_channels: tuple[int, ...] | list[int] = (32, 48, 64)
    restorer_channels: tuple[int, ...] | list[int] = (64, 96)
    code_channels: int = 128
    keep_bias: float = 1.5
    early_mesh: bool = True
    late_landmarks: bool = True

    @classmethod
    def of_size(cls, size: TeacherSize, **overrides: Any) -> SuperFaceTeacherConfig:
        """Return the configuration of a named size: ``tiny`` (tests), ``base`` (the embedded weights), ``large`` (for GPUs).

        Raises:
            ValueError: there is no such size.
        """
        return of_size(cls, "teacher", _SIZES, size, **overrides)

    def validate_architecture(self) -> None:
        super().validate_architecture()
        self.check_multiples(64, "image_size")
        self.check_lengths(3, "generator_channels", "mouth_channels", "eye_channels")
        self.check_lengths(2, "restorer_channels")
        if self.volume_channels * self.volume_depth > LARGEST_VOLUME:
            raise ValueError(
                f"volume_channels times volume_depth may be at most {LARGEST_VOLUME}, got "
                f"{self.volume_channels * self.volume_depth}"
            )
