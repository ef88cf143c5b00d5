"""Pull-push: a hole filled from ever coarser means of what is around it (Gortler et al. 1996, "The Lumigraph", section 3.4).

Smooth, fast, without weights: what the inpainter starts from, and what it has to beat.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A mean over less of the picture than this is no colour.
NOTHING = 1e-6


def pull_push(pictures: Tensor, known: Tensor) -> Tensor:
    """Fills what is not known from what is.

    Args:
        pictures: (B, C, H, W).
        known: (B, 1, H, W) in [0, 1]: how much of each pixel is known; where it is 1 the picture is kept bit for bit.

    Returns:
        (B, C, H, W); grey (0.5) where nothing is known at all.
    """
    height, width = pictures.shape[-2:]
    if max(height, width) == 1:
        return torch.where(known > NOTHING, pictures, torch.full_like(pictures, 0.5))
    even = (0, width % 2, 0, height % 2)
    colours, weights = F.pad(pictures * known, even), F.pad(known, even)
    # Pull: a coarser pixel is the mean of the known part of its four, and is known as soon as a fourth of it is.
    share = F.avg_pool2d(weights, 2)
    coarse = F.avg_pool2d(colours, 2) / share.clamp_min(NOTHING)
    below = pull_push(coarse, (4 * share).clamp(max=1))
    # Push: what is unknown takes the colour of the coarser picture.
    finer = F.interpolate(below, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(known >= 1, pictures, known * pictures + (1 - known) * finer)
