"""Configuration of the student."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ..configuration import Bounds, SuperFaceConfig, of_size, shortened

StudentSize = Literal["tiny", "base"]
LARGEST_FILE = 64 * 2**20  # bytes

# The differences from the defaults, which are ``base``.
_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 128,
        "prior_points": 40,
        "appearance_channels": 4,
        "motion_channels": [8, 8, 8],
        "generator_channels": 8,
        "window_channels": 8,
        "code_channels": 8,
    },
    "base": {},
}


@strict
class SuperFaceStudentConfig(SuperFaceConfig):
    """The configuration of the student: the sizes of its parts, and of the portrait that it stores.

    Args:
        image_size: side of the square window that is rendered, in pixels; a multiple of 128. The network predicts motion
            at a sixteenth of it, and the flow at an eighth.
        prior_points: landmarks of the mesh flow that the network starts from. More landmarks are more exact, and cost
            20,000 multiply-accumulates each.
        appearance_channels: channels of the appearance feature that the teacher delivers.
        motion_channels: widths of the dense motion network at 1/16, 1/32 and 1/64 of the resolution.
        generator_channels: width of the generator, at 1/8 of the resolution.
        window_channels: width of the painters of mouth and eyes, at 1/4 of the resolution.
        code_channels: size of the motion representation p.
        person: the name of the person shown, at most 200 characters.
        drawn_eyes: whether the portrait's eyes are drawn, and larger than a person's.
        picture_bytes, colours_bytes, alpha_bytes, plate_bytes: lengths of the stored files: the picture, and its layers.
    """

    model_type = "superface_student"
    bounds: ClassVar[Bounds] = {
        "image_size": (128, 1024),
        "prior_points": (16, 468),
        "appearance_channels": (1, 256),
        "motion_channels": (1, 512),
        "generator_channels": (1, 512),
        "window_channels": (1, 512),
        "code_channels": (1, 2048),
        "picture_bytes": (0, LARGEST_FILE),
        "colours_bytes": (0, LARGEST_FILE),
        "alpha_bytes": (0, LARGEST_FILE),
        "plate_bytes": (0, LARGEST_FILE),
    }

    image_size: int = 512
    prior_points: int = 96
    appearance_channels: int = 6
    motion_channels: tuple[int, ...] | list[int] = (10, 20, 24)
    generator_channels: int = 8
    window_channels: int = 14
    code_channels: int = 64
    person: str | None = None
    drawn_eyes: bool = False
    picture_bytes: int = 0
    colours_bytes: int = 0
    alpha_bytes: int = 0
    plate_bytes: int = 0

    @classmethod
    def of_size(cls, size: StudentSize, **overrides: Any) -> SuperFaceStudentConfig:
        """Return the configuration of a named size: ``tiny`` (tests) or ``base``.

        Raises:
            ValueError: there is no such size.
        """
        return of_size(cls, "student", _SIZES, size, **overrides)

    def validate_architecture(self) -> None:
        super().validate_architecture()
        self.check_multiples(128, "image_size")
        self.check_lengths(3, "motion_channels")
        if self.person is not None and (len(self.person) > 200 or not self.person.isprintable()):
            raise ValueError(f"person must be a name of at most 200 characters, got {shortened(self.person)!r}")
