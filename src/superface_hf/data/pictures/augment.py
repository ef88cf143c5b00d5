"""Batches for the matte network: people cut out and put elsewhere, in any light, blurred, grey, drawn.

Everything happens on the training device, on whole batches. Where labels end, beyond a picture's edge, nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.inpainter.pull_push import pull_push
from .packed import PackedPictures
from .random_windows import chance, inside, sample, uniform, windows

# Windows are this many widths of the face at least and most. Inference takes 3.4 and 6.8, or the picture if that is smaller.
CLOSE, WIDE = 1.5, 6.0
# A window may be larger than its picture by this.
BEYOND = 1.25
PASTED, STRANGERS = 0.6, 0.15  # shares
SURE = 0.95  # a pixel of a person that shows no background


@dataclass(frozen=True, eq=False)
class MatteBatch:
    """Pictures (B, 3, S, S), the person's part of each pixel (B, 1, S, S), and where that is known (B, 1, S, S)."""

    pictures: Tensor
    mattes: Tensor
    known: Tensor


@torch.no_grad()
def draw_batch(data: PackedPictures, count: int, size: int) -> MatteBatch:
    """Return a random batch."""
    chosen = data.choose(count)
    maps = _around_faces(data.faces[chosen])
    picture, matte = sample(data.pictures[chosen], maps, size), sample(data.mattes[chosen], maps, size)
    known = inside(maps, size)
    behind = _backgrounds(data, count, size)
    person = _relit(pull_push(picture, (matte > SURE).float()))
    pasted = chance(picture, count, PASTED)
    together = matte * person + (1 - matte) * behind
    picture = torch.where(pasted, together, picture)
    return MatteBatch(changed(picture), matte, known)


def around_face(faces: Tensor, reach: float) -> Tensor:
    """Return the windows (B, 2, 3) of inference around faces (B, 3)."""
    side = (reach * faces[:, 2]).clamp(max=1)
    centre = torch.stack([faces[:, 0], faces[:, 1] + 0.03 * side], 1)
    half = side[:, None] / 2
    centre = torch.minimum(torch.maximum(centre, half), 1 - half)
    return windows(centre, side, torch.zeros_like(side), torch.zeros_like(side, dtype=torch.bool))


def _around_faces(faces: Tensor) -> Tensor:
    count = len(faces)
    widest = (BEYOND / faces[:, 2]).clamp(CLOSE, WIDE)
    reach = torch.exp(uniform(faces, count, torch.full_like(widest, CLOSE).log(), widest.log()))
    side = reach * faces[:, 2]
    shift = (torch.rand(count, 2, device=faces.device) - 0.5) * 0.3 * side[:, None]
    angle = torch.randn(count, device=faces.device) * 0.14
    return windows(faces[:, :2] + shift, side, angle, torch.rand(count, device=faces.device) < 0.5)


def _backgrounds(data: PackedPictures, count: int, size: int) -> Tensor:
    """Return backgrounds: places without their people, patches, colours, and sometimes a place with a stranger at the side."""
    other = data.choose(count)
    faces = data.faces[other]
    kind = torch.rand(count, device=faces.device)
    stranger, patch = kind < STRANGERS, kind > 0.7
    # A stranger stands beside the middle: the face lies 0.45 to 0.7 of the window to the left or right.
    side = torch.where(patch, uniform(faces, count, 0.08, 0.3), uniform(faces, count, 0.5, 1.1))
    side = torch.where(stranger, faces[:, 2] * uniform(faces, count, 3.0, 6.0), side)
    sign = torch.where(torch.rand(count, device=faces.device) < 0.5, -1.0, 1.0)
    beside = faces[:, :2].clone()
    beside[:, 0] += sign * side * uniform(faces, count, 0.42, 0.7)
    centre = torch.where(stranger[:, None], beside, torch.rand(count, 2, device=faces.device))
    angle = torch.randn(count, device=faces.device) * torch.where(patch, 1.5, 0.1)
    maps = windows(centre, side, angle, sign > 0)
    picture, matte = sample(data.pictures[other], maps, size), sample(data.mattes[other], maps, size)
    empty = pull_push(picture, (matte < 0.02).float())
    picture = torch.where((stranger | patch)[:, None, None, None], picture, empty)
    return torch.where(chance(picture, count, 0.08), _clouds(picture), picture)


def _clouds(like: Tensor) -> Tensor:
    """Return pictures of colours that change smoothly, and of colours that change less smoothly."""
    count, _, size, _ = like.shape
    total = torch.zeros_like(like)
    for cells, strength in ((2, 0.5), (8, 0.25), (size // 2, 0.1)):
        noise = torch.rand(count, 3, cells, cells, device=like.device) - 0.5
        total += strength * F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    return (total + torch.rand(count, 3, 1, 1, device=like.device)).clamp(0, 1)


def _relit(picture: Tensor) -> Tensor:
    """Give the person another light than the place."""
    gain = torch.exp(torch.randn(len(picture), 1, 1, 1, device=picture.device) * 0.2)
    tint = torch.exp(torch.randn(len(picture), 3, 1, 1, device=picture.device) * 0.06)
    return (picture * gain * tint).clamp(0, 1)


def changed(picture: Tensor) -> Tensor:
    """Change light, colours and sharpness, add noise, and imitate drawings and paintings."""
    count, _, size, _ = picture.shape
    picture = torch.where(chance(picture, count, 0.12), _painted(picture), picture)
    picture = torch.where(chance(picture, count, 0.05), _drawn(picture), picture)
    axis = torch.linspace(-1, 1, size, device=picture.device)
    slope = torch.randn(count, 2, 1, 1, device=picture.device) * 0.15
    light = torch.exp(
        slope[:, :1] * axis[None, None, :, None] + slope[:, 1:] * axis + torch.randn_like(slope[:, :1]) * 0.25
    )
    gamma = torch.exp(torch.randn(count, 1, 1, 1, device=picture.device) * 0.25)
    tint = torch.exp(torch.randn(count, 3, 1, 1, device=picture.device) * 0.08)
    picture = picture.clamp(1e-4, 1) ** gamma * light * tint
    grey = picture.mean(1, keepdim=True)
    colour = torch.where(chance(picture, count, 0.15), 0.0, torch.exp(torch.randn_like(gamma) * 0.3))
    picture = grey + (picture - grey) * colour
    middle = picture.mean((1, 2, 3), keepdim=True)
    picture = middle + (picture - middle) * torch.exp(torch.randn_like(gamma) * 0.2)
    picture = torch.where(chance(picture, count, 0.25), _softened(picture), picture)
    strength = torch.where(chance(picture, count, 0.3), uniform(picture, count, 0.0, 0.08)[:, None, None, None], 0.0)
    return (picture + strength * torch.randn_like(picture)).clamp(0, 1)


def _softened(picture: Tensor) -> Tensor:
    """Blur by making smaller and larger again, with one size for the batch."""
    size = picture.shape[-1]
    small = int(torch.randint(size // 5, size * 3 // 4, (1,)))
    little = F.interpolate(picture, size=(small, small), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(little, size=(size, size), mode="bilinear", align_corners=False)


def _painted(picture: Tensor) -> Tensor:
    """Return flat patches of few colours."""
    flat = -F.max_pool2d(-F.max_pool2d(picture, 5, 1, 2), 5, 1, 2)
    levels = torch.randint(3, 9, (len(picture), 1, 1, 1), device=picture.device)
    posters = (flat * levels).round() / levels
    return torch.where(chance(picture, len(picture), 0.5), posters, flat)


def _drawn(picture: Tensor) -> Tensor:
    """Draw the picture as dark lines on light paper."""
    grey = picture.mean(1, keepdim=True)
    around = F.avg_pool2d(F.pad(grey, (4, 4, 4, 4), mode="replicate"), 9, 1)
    lines = (grey / around.clamp_min(0.02)).clamp(0, 1) ** 3
    return lines.expand_as(picture)
