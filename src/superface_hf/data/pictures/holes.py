"""Pictures with made-up holes, for the inpainter: holes of a person's shape, where it is known what is behind.

Behind a picture's own person nothing is known. So holes are that person and a seam around it, of which the seam is asked for;
or the shapes of other pictures' people, laid over places; or over anything, closely and in any direction, as texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .packed import PackedPictures
from .random_windows import chance, inside, sample, uniform, windows

TEXTURES = 0.35  # share of windows that are close-ups of anything
OWN = 0.75  # share of the others whose own person is part of the hole
PERSON = 0.02  # a pixel with more of a person than this shows one


@dataclass(frozen=True, eq=False)
class HoleBatch:
    """Pictures with holes.

    Attributes:
        pictures: (B, 3, S, S) in [0, 1].
        known: (B, 1, S, S): 0 in the hole.
        asked: (B, 1, S, S): 1 where the hole's truth is known.
    """

    pictures: Tensor
    known: Tensor
    asked: Tensor


@torch.no_grad()
def draw_holes(data: PackedPictures, count: int, size: int) -> HoleBatch:
    """Return a random batch."""
    chosen = data.choose(count)
    faces = data.faces[chosen]
    texture = chance(faces, count, TEXTURES)
    close = texture.flatten()
    side = torch.where(close, uniform(faces, count, 0.25, 0.6), uniform(faces, count, 0.6, 1.0))
    angle = torch.where(close, uniform(faces, count, -3.2, 3.2), torch.randn_like(side) * 0.05)
    half = torch.where(close, side * 0.7, side / 2)[:, None].clamp(max=0.5)
    centre = half + (1 - 2 * half) * torch.rand(count, 2, device=side.device)
    maps = windows(centre, side, angle, torch.rand_like(side) < 0.5)
    picture, matte = sample(data.pictures[chosen], maps, size), sample(data.mattes[chosen], maps, size)
    own = _grown(matte > PERSON, size // 50)
    own_in_hole = ~texture & chance(picture, count, OWN)
    seam = _grown(own, size // 10) & chance(picture, count, 0.6)
    others = _shapes(data, count, size) & (texture | chance(picture, count, 0.6))
    hole = (own_in_hole & (own | seam)) | others
    # A close-up may ask for anything; elsewhere nobody is to be painted.
    asked = hole & (texture | ~own)
    asked = asked.float() * inside(maps, size)
    return HoleBatch(picture.contiguous(memory_format=torch.channels_last), 1 - hole.float(), asked)


@torch.no_grad()
def fixed_holes(data: PackedPictures, size: int, seed: int = 0) -> HoleBatch:
    """Return each picture once, with another's person laid beside its own: what they hide is known. Always the same, for
    validation."""
    generator = torch.Generator().manual_seed(seed)
    count, device = len(data), data.pictures.device
    whole = windows(
        torch.full((count, 2), 0.5), torch.ones(count), torch.zeros(count), torch.zeros(count, dtype=torch.bool)
    )
    picture, matte = sample(data.pictures, whole.to(device), size), sample(data.mattes, whole.to(device), size)
    other = torch.roll(torch.arange(count), 7).to(device)
    sideways = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    centre = torch.stack([0.5 + sideways * 0.25, torch.full((count,), 0.45)], 1)
    laid = windows(centre, torch.full((count,), 1.3), torch.zeros(count), sideways > 0).to(device)
    hole = _grown(sample(data.mattes[other], laid, size, "zeros") > PERSON, size // 50, 0.1)
    own = _grown(matte > PERSON, size // 50, 0.1)
    hole = hole | own
    return HoleBatch(picture, 1 - hole.float(), (hole & ~own).float())


def _shapes(data: PackedPictures, count: int, size: int) -> Tensor:
    """Return masks (count, 1, size, size) bool: people's shapes, anywhere, of any size."""
    device = data.pictures.device
    other = data.choose(count)
    side = torch.exp(uniform(data.faces, count, -0.3, 1.1))
    centre = 0.5 + (torch.rand(count, 2, device=device) - 0.5) * 0.8 * side[:, None]
    angle = torch.randn(count, device=device) * 0.3
    maps = windows(centre, side, angle, torch.rand(count, device=device) < 0.5)
    return _grown(sample(data.mattes[other], maps, size, "zeros") > 0.3, size // 40)


def _grown(mask: Tensor, most: int, level: Tensor | float | None = None) -> Tensor:
    """Grow masks (B, 1, S, S) bool by up to ``most`` pixels; without a ``level`` each by another number of them."""
    reach = max(1, most // 2)  # half the size is exact enough, and a fourth of the work
    little = F.max_pool2d(mask.float(), 2)
    soft = F.avg_pool2d(F.pad(little, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
    soft = F.interpolate(soft, size=mask.shape[-2:], mode="bilinear", align_corners=False)
    if level is None:
        level = uniform(mask, len(mask), 0.02, 0.4)[:, None, None, None]
    return mask | (soft > level)
