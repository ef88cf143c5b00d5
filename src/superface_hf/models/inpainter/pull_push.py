"""Pull-push: fill a hole from ever coarser averages of its surroundings (Gortler et al. 1996, "The Lumigraph", section 3.4).

The fill is smooth, fast and needs no weights: the inpainter starts from it, and must be better.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# An average with a smaller total weight than this gives no colour.
NOTHING = 1e-6


def pull_push(pictures: Tensor, known: Tensor) -> Tensor:
    """Fill the unknown pixels from the known ones.

    Args:
        pictures: (B, C, H, W).
        known: (B, 1, H, W) in [0, 1]: how much of each pixel is known; pixels with 1 are kept bit for bit.

    Returns:
        (B, C, H, W); grey (0.5) where nothing is known at all.
    """
    height, width = pictures.shape[-2:]
    if max(height, width) == 1:
        return torch.where(known > NOTHING, pictures, torch.full_like(pictures, 0.5))
    even = (0, width % 2, 0, height % 2)
    colours, weights = F.pad(pictures * known, even), F.pad(known, even)
    # Pull: a coarser pixel is the average of the known parts of its four pixels, and is fully known if a fourth of them is.
    share = F.avg_pool2d(weights, 2)
    coarse = F.avg_pool2d(colours, 2) / share.clamp_min(NOTHING)
    below = pull_push(coarse, (4 * share).clamp(max=1))
    # Push: unknown parts take the colour of the coarser picture.
    finer = F.interpolate(below, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(known >= 1, pictures, known * pictures + (1 - known) * finer)
