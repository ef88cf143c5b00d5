"""Pairs for the restorer: crops of sharp faces, and the same crops degraded or drawn by the face space.

Everything happens on the training device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.degradations import REFERENCE_SIDE, DegradationConfig, DegradationRound, SourceDegradation
from ...models.face_space.canonical import SIZE
from ...models.face_space.modeling_face_space import FACE_BOX
from ...models.face_space.texture import bands, blur, local_energy, luminance_of
from .packed_faces import PackedFaces

DRAWN = 0.5  # share of the faces that the face space drew which are shown as it drew them
OFF_FACE = 0.25  # share of crops that may lie anywhere; the others have their middle in the face
MOST_NOISE = 0.8  # of a drawing, as a share of the picture's detail
WIDEST = 20.0  # standard deviation that DegradationRound takes
COLOURS = 6.0  # blur in pixels; what is coarser than that, a drawn face has from the picture


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Clean and degraded pictures (B, 3, S, S) in [0, 1], and which of these the face space drew (B,) bool."""

    clean: Tensor
    degraded: Tensor
    drawn: Tensor


@torch.no_grad()
def draw_clean(data: PackedFaces, count: int, size: int) -> Tensor:
    """Return random crops (count, 3, size, size) of sharp faces in [0, 1]."""
    return _crops(data.pictures, *_places(data, count, size), size).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def draw_pairs(data: PackedFaces, count: int, size: int) -> FacePairs:
    """Return a random batch of pairs."""
    rows, corners, flipped = _places(data, count, size)
    drawn = (data.drawn_of[rows] >= 0) & (torch.rand(count).to(rows.device) < DRAWN)
    seed = int(torch.randint(2**31, ()))
    return _pairs(data, rows, corners, flipped, size, drawn, seed)


@torch.no_grad()
def fixed_pairs(
    data: PackedFaces, count: int, size: int, seed: int = 0, kinds: tuple[str, ...] = ("drawn", "degraded")
) -> FacePairs:
    """Return one face each of up to ``count`` people, always the same, for validation.

    Args:
        data: the faces.
        count: the number of people.
        size: side of the pictures, whose middle is that of the face, in pixels.
        seed: of the degradations.
        kinds: "drawn" or "degraded", in turn.
    """
    first = {person: row for row, person in reversed(list(enumerate(data.persons)))}
    chosen = sorted(first.values())
    rows = torch.tensor([chosen[number * len(chosen) // count] for number in range(min(count, len(chosen)))])
    rows = rows.to(data.pictures.device)
    middle = torch.tensor([(each.start + each.stop) // 2 for each in FACE_BOX])
    corners = (middle - size // 2).clamp(0, SIZE - size).expand(len(rows), 2)
    wanted = torch.tensor([kinds[number % len(kinds)] == "drawn" for number in range(len(rows))], device=rows.device)
    drawn = (data.drawn_of[rows] >= 0) & wanted
    flipped = torch.zeros(len(rows), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _pairs(data, rows, corners, flipped, size, drawn, seed)


def _pairs(
    data: PackedFaces, rows: Tensor, corners: Tensor, flipped: Tensor, size: int, drawn: Tensor, seed: int
) -> FacePairs:
    clean = _crops(data.pictures, rows, corners, flipped, size)
    shown = clean.clone()
    for number in drawn.nonzero()[:, 0].tolist():
        one = slice(number, number + 1)
        drawing = _crops(data.drawn, data.drawn_of[rows[one]], corners[one], flipped[one], size)
        shown[one] = as_drawn(clean[one], drawing)
    generator = torch.Generator(clean.device).manual_seed(seed)
    degraded = torch.empty_like(shown)
    for config, of in ((drawings(size), drawn), (photographs(size), ~drawn)):
        if of.any():
            degraded[of] = SourceDegradation(config)(shown[of], generator)
    last = torch.channels_last
    return FacePairs(clean.contiguous(memory_format=last), degraded.contiguous(memory_format=last), drawn)


def as_drawn(clean: Tensor, drawing: Tensor) -> Tensor:
    """Return the face space's drawing (1, 3, S, S) of a picture, with the picture's own coarse colours and, as made-up
    portraits have it, noise for fine detail, up to as much as the picture has detail at each place."""
    shown = drawing + blur(clean - drawing, COLOURS)
    strength = MOST_NOISE * float(torch.rand(()))
    noise = torch.randn(1, 1, *clean.shape[-2:]).to(clean)
    for band, grain in zip(bands(luminance_of(clean)), bands(noise), strict=True):
        shown = shown + strength * grain / local_energy(grain).clamp_min(1e-5) * local_energy(band)
    return shown.clamp(0, 1)


def photographs(size: int) -> DegradationConfig:
    """Return how faces are degraded that the face space did not draw, in crops of ``size`` pixels."""
    first = DegradationRound(
        blur_sigma=_pixels(0.2, 3.0, size), scale=(0.25, 1.0), noise_level=(1.0, 10.0), quality=(40.0, 95.0)
    )
    second = DegradationRound(
        blur=0.5, blur_sigma=_pixels(0.2, 1.5, size), scale=(0.4, 1.0), noise_level=(1.0, 6.0), photons=(300.0, 3000.0),
        quality=(40.0, 95.0),
    )  # fmt: skip
    return DegradationConfig(share=0.92, half=0.0, first=first, second=second)


def drawings(size: int) -> DegradationConfig:
    """Return how faces are degraded that the face space drew."""
    gentle = DegradationRound(
        blur=0.5, blur_sigma=_pixels(0.2, 1.0, size), scale=(0.6, 1.0), noise_level=(1.0, 5.0), quality=(60.0, 95.0)
    )
    return DegradationConfig(share=0.4, half=0.0, first=gentle, second=gentle)


def _pixels(low: float, high: float, size: int) -> tuple[float, float]:
    """Return standard deviations in pixels of a crop, as ``DegradationRound`` takes them: for a side of 512."""
    return tuple(min(value * REFERENCE_SIDE / size, WIDEST) for value in (low, high))  # type: ignore[return-value]


def _places(data: PackedFaces, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random rows, corners (count, 2) row first, and which crops are mirrored."""
    low, high = (torch.tensor([getattr(each, end) for each in FACE_BOX]) for end in ("start", "stop"))
    middle = low + (high - low) * torch.rand(count, 2)
    anywhere = torch.rand(count, 1) < OFF_FACE
    corners = torch.where(anywhere, torch.rand(count, 2) * (SIZE - size), middle - size / 2)
    return data.choose(count), corners.clamp(0, SIZE - size).long(), torch.rand(count) < 0.5


def _crops(pictures: Tensor, rows: Tensor, corners: Tensor, flipped: Tensor, size: int) -> Tensor:
    crops = []
    for row, (top, left), mirrored in zip(rows.tolist(), corners.tolist(), flipped.tolist(), strict=True):
        crop = pictures[row, :, top : top + size, left : left + size]
        crops.append(crop.flip(-1) if mirrored else crop)
    return torch.stack(crops).float() / 255
