"""What a renderer adds to the layers, for the window around the face."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import Window

# A person that differs from the warped colours by about this much (in [0, 1], over windows of so many pixels) is painted.
PAINTED, PAINTED_WINDOW = 0.03, 8


@dataclass(frozen=True, eq=False)
class RenderedWindow:
    """The person of B frames is ``keep * warped + paint``, where ``warped`` are the portrait's own colours.

    Attributes:
        window: where each frame's window lies in the source's.
        flow: (B, 2, s, s) backward displacement in the windows' coordinates.
        keep: (B, 1, S, S), ``paint`` (B, 3, S, S) in units of a picture in [0, 1].
        alpha_change: (B, 1, S, S) what is added to the warped matte.
    """

    window: Window
    flow: Tensor
    keep: Tensor
    paint: Tensor
    alpha_change: Tensor


def kept_fine(keep: Tensor, paint: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
    """Keep (B, 1, s, s) and paint (B, 3, s, s) of the warped colours (B, 3, s, s), for colours that are finer than they.

    Where what is painted shows the same as the warped colours do, all of these is kept, with all that is finer in them.
    """
    person = keep * warped + paint
    same = F.interpolate(unpainted(person, warped), size=keep.shape[-2:], mode="bilinear", align_corners=False)
    keep = torch.lerp(keep, torch.ones_like(keep), same)
    return keep, person - keep * warped


def unpainted(person: Tensor, warped: Tensor) -> Tensor:
    """(B, 3, S, S) twice -> (B, 1, S/4, S/4) in [0, 1]: 1 where both are the same. Coarse, to be smooth."""
    differing = (person - warped).abs().mean(1, keepdim=True)
    step, beyond = PAINTED_WINDOW // 2, PAINTED_WINDOW // 4
    windows = F.avg_pool2d(differing, PAINTED_WINDOW, step, beyond, count_include_pad=False)
    return torch.exp(-(windows / PAINTED).square())


__all__ = ["RenderedWindow", "kept_fine", "unpainted"]
