"""The checked settings of the motion diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import MotionError, UnknownNameError
from ...motion import Motion

STRENGTH_RANGE = (0.0, 2.0)
GUIDANCE_RANGE = (0.0, 10.0)
GUIDANCE = 2.0
MOVED = ("head", "eyes", "brows", "gaze")  # the mouth is audio-to-lip's


@dataclass(frozen=True, eq=False)
class Performance:
    """The settings of the motion diffusion.

    Attributes:
        num_inference_steps: steps of the scheduler for each window.
        guidance_scale: how closely the motion follows the sound: 1 as learned, more above 1, 0 not at all.
        style: how widely the face moves: a reference motion of at least a second, or a name; None
            draws one by the seed.
        emotion: a name, or strengths by name, 0 to 1.5.
        strength: 0 to 2, factor of the movement of head and brows.
        regions: which of head, eyes, brows and gaze move; the others rest. The mouth always speaks.

    Raises:
        MotionError: a number is out of range.
        UnknownNameError: a region does not exist.
    """

    num_inference_steps: int = 12
    guidance_scale: float = GUIDANCE
    style: Motion | str | None = None
    emotion: Mapping[str, float] | str | None = None
    strength: float = 1.0
    regions: Sequence[str] = MOVED

    def __post_init__(self) -> None:
        for name, (low, high) in (("strength", STRENGTH_RANGE), ("guidance_scale", GUIDANCE_RANGE)):
            if not low <= getattr(self, name) <= high:  # refuses NaN too
                raise MotionError(f"{name} must lie between {low:g} and {high:g}, not {getattr(self, name)}.")
        if not 1 <= self.num_inference_steps <= 1000:
            raise MotionError(f"num_inference_steps must lie between 1 and 1000, not {self.num_inference_steps}.")
        for region in self.regions:
            if region not in MOVED:
                raise UnknownNameError(f"The diffusion moves {', '.join(MOVED)}; there is no {region!r} to ask for.")
