"""The light that a portrait stands in, as its skin shows it.

In the yellow light of an old painting, teeth and the inside of a mouth are yellow too. Networks know the light of their
training clips; a picture whose skin has colours beyond theirs is shown to them in the nearest light that they know, and what
they paint is brought back to the picture's own light. All other pictures stay as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Landmarks on cheeks, the bridge of the nose and the forehead, which hair and beards seldom cover.
SKIN = (50, 101, 36, 205, 280, 330, 266, 425, 6, 197, 195, 5, 9, 151, 108, 337)
# Logarithms of red and of blue over green, lowest and highest. Nine of ten training clips lie between them, not counting one
# corpus of few people in yellow light. Grey photographs, which are less red than any skin, are known as well.
RED, BLUE = (-0.05, 0.6), (-0.4, 0.05)
LUMA = (0.299, 0.587, 0.114)


@torch.no_grad()
def light_gains(pictures: Tensor, landmarks: Tensor) -> Tensor:
    """Return the factors (B, 3, 1, 1) that bring pictures (B, 3, S, S) into light that the networks know: 1 where the skin has
    colours that they know already. Landmarks are (B, 478, 3) in image coordinates. The skin stays as bright as it is."""
    skin = skin_colours(pictures, landmarks)
    ratios = (skin[:, ::2] / skin[:, 1:2]).log()
    low, high = ratios.new_tensor([RED, BLUE]).T
    red, blue = (ratios.clamp(low, high) - ratios).exp().unbind(1)
    gains = torch.stack((red, torch.ones_like(red), blue), dim=1)
    luma = gains.new_tensor(LUMA)
    gains = gains * ((skin @ luma) / ((skin * gains) @ luma))[:, None]
    return gains[:, :, None, None]


def skin_colours(pictures: Tensor, landmarks: Tensor) -> Tensor:
    """Return the colour (B, 3) of the skin in pictures (B, 3, S, S): the median of places on the face."""
    places = landmarks[:, None, list(SKIN), :2].to(pictures.dtype)
    small = F.avg_pool2d(pictures, 8)
    sampled = F.grid_sample(small, places, padding_mode="border", align_corners=False)[:, :, 0]
    return sampled.float().median(dim=-1).values.clamp_min(0.02)


__all__ = ["light_gains", "skin_colours"]
