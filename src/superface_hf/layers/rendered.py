"""The output of a renderer: its changes to the layers, in the window around the face."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .motion import Window

# A person that differs from the warped colours by about this much (in [0, 1], averaged over so many pixels) counts as painted.
PAINTED, PAINTED_WINDOW = 0.03, 8


@dataclass(frozen=True, eq=False)
class RenderedWindow:
    """The output of a renderer for B frames. The person is ``keep * warped + paint``, where ``warped`` are the
    portrait's own colours.

    Attributes:
        window: the position of each frame's window in the source's coordinates.
        flow: (B, 2, s, s) backward displacement in the windows' coordinates.
        keep: (B, 1, S, S) the factor of the warped colours.
        paint: (B, 3, S, S) the painted colours, in units of a picture in [0, 1].
        alpha_change: (B, 1, S, S) the change of the warped matte.
    """

    window: Window
    flow: Tensor
    keep: Tensor
    paint: Tensor
    alpha_change: Tensor


def kept_fine(keep: Tensor, paint: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
    """Convert keep (B, 1, s, s) and paint (B, 3, s, s) of the warped colours (B, 3, s, s), so that they apply to
    colours of a finer resolution.

    Where the painted person equals the warped colours, those are kept completely, with their fine detail.
    """
    person = keep * warped + paint
    same = F.interpolate(unpainted(person, warped), size=keep.shape[-2:], mode="bilinear", align_corners=False)
    keep = torch.lerp(keep, torch.ones_like(keep), same)
    return keep, person - keep * warped


def unpainted(person: Tensor, warped: Tensor) -> Tensor:
    """Return (B, 1, S/4, S/4) in [0, 1], which is 1 where ``person`` and ``warped``, (B, 3, S, S) each, are the same.
    Coarse, to be smooth."""
    differing = (person - warped).abs().mean(1, keepdim=True)
    step, beyond = PAINTED_WINDOW // 2, PAINTED_WINDOW // 4
    windows = F.avg_pool2d(differing, PAINTED_WINDOW, step, beyond, count_include_pad=False)
    return torch.exp(-(windows / PAINTED).square())


__all__ = ["RenderedWindow", "kept_fine", "unpainted"]
