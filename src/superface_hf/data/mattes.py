"""Mattes and plates of whole batches, for the training of renderers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Radius of the guided filter that makes a small matte exact, in pixels, and how much texture it ignores.
GUIDE_RADIUS, GUIDE_RIDGE = 6, 1e-3
LUMINANCE = (0.299, 0.587, 0.114)
NOBODY = 0.02  # a matte below this shows no person
THIN = 0.15  # below this, the colours of a person cannot be told from what lies behind


class Mattes:
    """The embedded matte model on windows of faces: (B, 3, S, S) in [0, 1] -> (B, 1, S, S)."""

    def __init__(self, device: torch.device) -> None:
        from ..models.embedded import embedded_matte

        self.model = embedded_matte(device)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        side = self.model.config.image_size
        small = F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        matte = torch.sigmoid(self.model(small).logits.float())
        matte = F.interpolate(matte, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
        return exact_matte(pictures, matte)


def known_plate(source: Tensor, matte: Tensor, target: Tensor, target_matte: Tensor) -> Tensor:
    """Compose a plate (B, 3, S, S): the target's background, the source's where the person hides it, else what is near."""
    beside = (grown(target_matte) < NOBODY).float()
    known = (grown(matte) < NOBODY).float()
    return pull_push(torch.lerp(source, target, beside), torch.maximum(known, beside))


def exact_matte(picture: Tensor, matte: Tensor) -> Tensor:
    """Return a soft matte drawn to the picture's edges by a guided filter (He et al. 2010): (B, 3, S, S), (B, 1, S, S)."""
    guide = (picture * picture.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)

    def mean(x: Tensor) -> Tensor:
        side = 2 * GUIDE_RADIUS + 1
        return F.avg_pool2d(x, side, 1, GUIDE_RADIUS, count_include_pad=False)

    matte = ((matte - 0.1) / 0.8).clamp(0, 1)
    mean_guide, mean_matte = mean(guide), mean(matte)
    slope = (mean(guide * matte) - mean_guide * mean_matte) / (mean(guide * guide) - mean_guide**2 + GUIDE_RIDGE)
    offset = mean(mean_matte - slope * mean_guide)
    return (mean(slope) * guide + offset).clamp(0, 1)


def person_colours(picture: Tensor, matte: Tensor, plate: Tensor) -> Tensor:
    """Return the person's own colours where the background shines through, such as between hairs: (B, 3, S, S) twice.

    Laid over the plate again, they give the picture, so a person at rest looks as before.
    """
    own = (picture - (1 - matte) * plate) / matte.clamp_min(THIN)
    return torch.where(matte > THIN, own.clamp(0, 1), picture)


def grown(matte: Tensor, radius: int = 6) -> Tensor:
    return F.max_pool2d(matte, 2 * radius + 1, 1, radius)


def pull_push(picture: Tensor, known: Tensor) -> Tensor:
    """Fill what is not known from what is near: (B, 3, S, S), (B, 1, S, S) in [0, 1]."""
    if picture.shape[-1] <= 2:
        return picture
    weight = F.avg_pool2d(known, 2)
    coarse = F.avg_pool2d(picture * known, 2) / weight.clamp_min(1e-4)
    filled = pull_push(coarse, (weight * 4).clamp(max=1))
    finer = F.interpolate(filled, size=picture.shape[-2:], mode="bilinear", align_corners=False)
    return torch.lerp(finer, picture, known)
