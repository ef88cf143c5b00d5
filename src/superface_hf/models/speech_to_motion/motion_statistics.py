"""Statistics of how people move when they speak: scales of motion, styles, and the offsets of emotions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ...errors import MotionError, UnknownNameError
from ...face_model.lips import mouth_opening
from ...motion import Motion
from ...motion.arkit import nearest_names
from ..diffusers_model import DiffusersModel
from .motion_vector import region_slices, rest_frame, to_vectors

# The parts of a style code, each the logarithm of a standard deviation.
STYLE_PARTS = ("pitch", "yaw", "roll", "shift", "gaze", "lids", "brows", "mouth")
MIN_SPREAD = 1e-3
STYLE_LIMIT = 2.5  # standard deviations
DRAWN_LIMIT = 1.5  # standard deviations of a random style, which avoids the rarest styles
MIN_REFERENCE = 1.0  # seconds; the spread of a shorter reference is meaningless
EMOTION_RANGE = (0.0, 1.5)


class MotionStatistics(DiffusersModel):
    """Scales motion for the network, and knows styles and emotions by name.

    Args:
        motion_size: size of a frame's motion.
        styles, emotions: the names, in the order of the rows.

    Buffers: ``mean`` and ``spread`` (motion_size,) of speaking people; ``gain`` (motion_size,), the ratio of people's
    movement to the diffusion's; ``style_mean`` and ``style_spread`` (8,) of their style codes; ``style_middle`` (8,)
    and ``style_factor`` (8, 8): people's scaled codes are distributed like ``style_middle + style_factor @ z`` with
    normal ``z``; ``style_codes`` (S, 8); ``emotion_offsets`` (E, motion_size), added to the motion at full strength.
    """

    @register_to_config
    def __init__(self, motion_size: int = 66, styles: Sequence[str] = (), emotions: Sequence[str] = ()) -> None:
        super().__init__()
        shapes = {
            "mean": (motion_size,), "spread": (motion_size,), "gain": (motion_size,), "style_mean": (len(STYLE_PARTS),),
            "style_spread": (len(STYLE_PARTS),), "style_middle": (len(STYLE_PARTS),),
            "style_factor": (len(STYLE_PARTS), len(STYLE_PARTS)), "style_codes": (len(styles), len(STYLE_PARTS)),
            "emotion_offsets": (len(emotions), motion_size),
        }  # fmt: skip
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape) if name.endswith(("spread", "gain")) else torch.zeros(shape))

    mean: Tensor
    spread: Tensor
    gain: Tensor
    style_mean: Tensor
    style_spread: Tensor
    style_middle: Tensor
    style_factor: Tensor
    style_codes: Tensor
    emotion_offsets: Tensor

    def scale(self, vectors: Tensor) -> Tensor:
        """Scale rows (..., motion_size) of ``motion_vector`` to about zero mean and unit deviation."""
        return (vectors - self.mean) / self.spread

    def unscale(self, scaled: Tensor) -> Tensor:
        return scaled * self.spread + self.mean

    def played(self, scaled: Tensor) -> Tensor:
        """Return rows of ``motion_vector`` from the diffusion's scaled output (..., motion_size), amplified to people's
        range."""
        return self.unscale(self.gain * scaled)

    def scale_mouth(self, mouth: Tensor) -> Tensor:
        """Scale mouth coefficients (..., M) alone."""
        part = region_slices()["mouth"]
        return (mouth - self.mean[part]) / self.spread[part]

    def style(self, style: Motion | str) -> Tensor:
        """Return the scaled code (8,) of a reference motion, or of a style by name.

        Raises:
            UnknownNameError: there is no style of that name.
            MotionError: the reference is shorter than a second.
        """
        if isinstance(style, str):
            names = tuple(self.config.styles)
            if style not in names:
                raise UnknownNameError(f"Unknown style {style!r}. {nearest_names(style, names)}")
            return self.style_codes[names.index(style)]
        if style.seconds < MIN_REFERENCE:
            raise MotionError(f"A reference for style needs at least {MIN_REFERENCE:g} s, not {style.seconds:.2f} s.")
        code = torch.from_numpy(style_code(to_vectors(style, rest_frame(style))))
        return ((code - self.style_mean) / self.style_spread).clamp(-STYLE_LIMIT, STYLE_LIMIT)

    def drawn_style(self, generator: torch.Generator) -> Tensor:
        """Return a random scaled code (8,), distributed like people's styles without the rarest."""
        normal = torch.randn(len(STYLE_PARTS), generator=generator).clamp(-DRAWN_LIMIT, DRAWN_LIMIT)
        code = self.style_middle + self.style_factor @ normal.to(self.style_factor)
        return code.clamp(-STYLE_LIMIT, STYLE_LIMIT)

    def emotion(self, emotion: Mapping[str, float] | str) -> np.ndarray:
        """Return the offset (motion_size,) to add to every frame.

        Args:
            emotion: a name, or strengths from 0 to 1.5 by name.

        Raises:
            UnknownNameError: there is no emotion of that name.
            MotionError: a strength is out of range.
        """
        names = tuple(self.config.emotions)
        total = np.zeros(self.config.motion_size, np.float32)
        for name, strength in ({emotion: 1.0} if isinstance(emotion, str) else emotion).items():
            if name not in names:
                raise UnknownNameError(f"Unknown emotion {name!r}. {nearest_names(name, names)}")
            if not EMOTION_RANGE[0] <= strength <= EMOTION_RANGE[1]:  # refuses NaN too
                raise MotionError(
                    f"The strength of {name} must lie between {EMOTION_RANGE[0]:g} and {EMOTION_RANGE[1]:g}, not {strength}."
                )
            total += strength * self.emotion_offsets[names.index(name)].float().cpu().numpy()
        return total


def style_code(vectors: np.ndarray) -> np.ndarray:
    """Return the style code (8,) float32 of rows (T, motion_size): the logarithm of the spread of each of ``STYLE_PARTS``."""
    slices = region_slices()
    spread = vectors.std(0)
    head, gaze = spread[slices["head"]], spread[slices["gaze"]]
    together = {name: np.sqrt(np.square(spread[slices[name]]).mean()) for name in ("eyes", "brows")}
    opening = mouth_opening(vectors[:, slices["mouth"]]).std()
    parts = [
        *head[:3],
        np.linalg.norm(head[3:5]),
        np.linalg.norm(gaze[:2]),
        together["eyes"],
        together["brows"],
        opening,
    ]
    return np.log(np.maximum(parts, MIN_SPREAD)).astype(np.float32)
