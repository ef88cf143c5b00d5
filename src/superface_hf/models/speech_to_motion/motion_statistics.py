"""How people move when they speak: the scales of motion, ways of moving (styles), and what emotions add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ...errors import MotionError, UnknownNameError
from ...face_model.lips import mouth_opening
from ...motion import Motion
from ...motion.arkit import nearest_names
from .motion_vector import region_slices, rest_frame, to_vectors

# What a style tells: the spread of each, as the logarithm of its standard deviation.
STYLE_PARTS = ("pitch", "yaw", "roll", "shift", "gaze", "lids", "brows", "mouth")
LEAST_SPREAD = 1e-3
STYLE_LIMIT = 2.5  # standard deviations
DRAWN_LIMIT = 1.5  # the same, of a style that is drawn: what is drawn stays away from the rarest
SHORTEST_REFERENCE = 1.0  # seconds, below which a spread means nothing
EMOTION_RANGE = (0.0, 1.5)


class MotionStatistics(ModelMixin, ConfigMixin):
    """Scales motion for the network, and knows styles and emotions by name.

    Args:
        motion_size: numbers a frame.
        styles, emotions: the names, in the order of the rows.

    Buffers: ``mean`` and ``spread`` (motion_size,) of speaking people; ``style_mean`` and ``style_spread`` (8,) of their
    style codes; ``style_middle`` (8,) and ``style_factor`` (8, 8): scaled codes of people are distributed like
    ``style_middle + style_factor @ z`` of normal ``z``; ``style_codes`` (S, 8); ``emotion_offsets`` (E, motion_size), added
    to the motion at full strength.
    """

    @register_to_config
    def __init__(self, motion_size: int = 66, styles: Sequence[str] = (), emotions: Sequence[str] = ()) -> None:
        super().__init__()
        shapes = {
            "mean": (motion_size,), "spread": (motion_size,), "style_mean": (len(STYLE_PARTS),),
            "style_spread": (len(STYLE_PARTS),), "style_middle": (len(STYLE_PARTS),),
            "style_factor": (len(STYLE_PARTS), len(STYLE_PARTS)), "style_codes": (len(styles), len(STYLE_PARTS)),
            "emotion_offsets": (len(emotions), motion_size),
        }  # fmt: skip
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape) if name.endswith("spread") else torch.zeros(shape))

    mean: Tensor
    spread: Tensor
    style_mean: Tensor
    style_spread: Tensor
    style_middle: Tensor
    style_factor: Tensor
    style_codes: Tensor
    emotion_offsets: Tensor

    def scale(self, vectors: Tensor) -> Tensor:
        """(..., motion_size) rows of ``motion_vector`` -> about zero mean and unit spread."""
        return (vectors - self.mean) / self.spread

    def unscale(self, scaled: Tensor) -> Tensor:
        return scaled * self.spread + self.mean

    def scale_mouth(self, mouth: Tensor) -> Tensor:
        """(..., M) coefficients of the mouth alone."""
        part = region_slices()["mouth"]
        return (mouth - self.mean[part]) / self.spread[part]

    def style(self, style: Motion | str) -> Tensor:
        """(8,) the scaled code of a reference motion, or of a style by name.

        Raises:
            UnknownNameError: there is no style of that name.
            MotionError: the reference is shorter than a second.
        """
        if isinstance(style, str):
            names = tuple(self.config.styles)
            if style not in names:
                raise UnknownNameError(f"Unknown style {style!r}. {nearest_names(style, names)}")
            return self.style_codes[names.index(style)]
        if style.seconds < SHORTEST_REFERENCE:
            raise MotionError(
                f"A reference for style needs at least {SHORTEST_REFERENCE:g} s, not {style.seconds:.2f} s."
            )
        code = torch.from_numpy(style_code(to_vectors(style, rest_frame(style))))
        return ((code - self.style_mean) / self.style_spread).clamp(-STYLE_LIMIT, STYLE_LIMIT)

    def drawn_style(self, generator: torch.Generator) -> Tensor:
        """(8,) the scaled code of somebody: as people's styles are distributed, but not the rarest."""
        normal = torch.randn(len(STYLE_PARTS), generator=generator).clamp(-DRAWN_LIMIT, DRAWN_LIMIT)
        code = self.style_middle + self.style_factor @ normal.to(self.style_factor)
        return code.clamp(-STYLE_LIMIT, STYLE_LIMIT)

    def emotion(self, emotion: Mapping[str, float] | str) -> np.ndarray:
        """(motion_size,) what to add to every frame.

        Args:
            emotion: a name, or how strong each named one is, from 0 to 1.5.

        Raises:
            UnknownNameError: there is no emotion of that name.
            MotionError: a strength out of range.
        """
        names = tuple(self.config.emotions)
        total = np.zeros(self.config.motion_size, np.float32)
        for name, strength in ({emotion: 1.0} if isinstance(emotion, str) else emotion).items():
            if name not in names:
                raise UnknownNameError(f"Unknown emotion {name!r}. {nearest_names(name, names)}")
            if not EMOTION_RANGE[0] <= strength <= EMOTION_RANGE[1]:  # NaN is not
                raise MotionError(
                    f"The strength of {name} must lie between {EMOTION_RANGE[0]:g} and {EMOTION_RANGE[1]:g}, not {strength}."
                )
            total += strength * self.emotion_offsets[names.index(name)].float().cpu().numpy()
        return total


def style_code(vectors: np.ndarray) -> np.ndarray:
    """(8,) float32: how far each of ``STYLE_PARTS`` spreads over the rows (T, motion_size), as logarithms."""
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
    return np.log(np.maximum(parts, LEAST_SPREAD)).astype(np.float32)
