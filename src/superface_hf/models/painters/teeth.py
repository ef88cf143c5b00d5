"""The gaps between teeth that the portrait does not show.

No picture of a shut mouth tells where its teeth meet, so a network that minimises an error paints one bright band. The gaps of
teeth of usual widths are drawn into it; they are fixed to the skull and turn with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...face_model.mesh_flow import pixel_centers
from ...face_model.topology import EYE_CORNERS
from ...utils.easing import smoothstep

# Millimetres: the widths of upper teeth from the middle outwards (Ash and Nelson, Wheeler's Dental Anatomy: incisors, canine,
# premolars), the radius of their arch, the distance between the outer corners of the eyes, and the width of a gap's shadow.
WIDTHS = (8.5, 6.5, 7.5, 7.0, 7.0)
ARCH, BETWEEN_EYES, GAP = 26.0, 90.0, 0.6
DARKNESS = 0.28  # the share of the light that a gap takes
# What is taken for painted teeth: its light over the skin's, and how much redder it is than green and blue, over its light.
BRIGHT, RED = (0.35, 0.6), (0.22, 0.45)
UNDER_NOSE = 2  # the landmark above the middle of the teeth


def with_gaps(painted: Tensor, own: Tensor, points: Tensor, made_up: Tensor) -> Tensor:
    """Darken painted teeth where they meet.

    Args:
        painted, own: (B, 3, h, w) in [0, 1], the window on the mouth as it is painted, and the portrait's own.
        points: (B, 478, 3) the driver's landmarks in the window's unit.
        made_up: (B, 1, h, w) in [0, 1], 1 inside the mouth where the portrait shows lips.
    """
    light = painted.mean(1, keepdim=True)
    skin = own.mean(1, keepdim=True).flatten(2).median(dim=-1).values[..., None, None].clamp_min(0.02)
    red = (painted[:, :1] - painted[:, 1:].mean(1, keepdim=True)) / light.clamp_min(0.02)
    teeth = made_up * smoothstep(light / skin, *BRIGHT) * (1 - smoothstep(red, *RED))
    return painted * (1 - DARKNESS * teeth * _gaps(points, painted.shape[-1])[:, None, None])


def _gaps(points: Tensor, columns: int) -> Tensor:
    """Return the gaps (B, columns) in [0, 1], 1 in their middles."""
    across = points[:, int(EYE_CORNERS[3])] - points[:, int(EYE_CORNERS[0])]
    length = across.norm(dim=-1, keepdim=True)
    turn = torch.asin((across[:, 2:] / length).clamp(-0.9, 0.9))
    millimetres = (pixel_centers(columns, points) - points[:, UNDER_NOSE, :1]) * BETWEEN_EYES / length
    # A tooth at an angle of the arch is seen beside the middle one by the difference of both sines, after the turn.
    angle = torch.asin((millimetres / ARCH - turn.sin()).clamp(-0.99, 0.99)) + turn
    edges = points.new_tensor((0.0, *WIDTHS)).cumsum(0)
    away = (angle.abs() * ARCH)[..., None] - edges
    return torch.exp(-0.5 * (away / GAP).square()).amax(-1)


__all__ = ["with_gaps"]
