"""Add fine detail to averages of many people: averages are smooth, so detail is synthesised as strong as in single people.

An average keeps edges that all people share (eyes, lips), but weaker, and loses edges that differ (strands, pores). So
two bands of detail are raised to the energy that people have at each position: first by amplifying the existing detail,
up to ``MAX_GAIN``, then by adding noise along the direction of people's detail, which looks like strands on hair. The
result resembles no training person: only energies and directions are learned, over all people.

Describing a texture by its local band energies follows Heeger and Bergen (1995); noise along a direction field is line integral
convolution (Cabral and Leedom 1993).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model.mesh_flow import identity_grid

BANDS = (0.8, 1.8, 4.0)  # blurs in pixels of the canonical square of 512 whose differences are the two bands
AROUND = 6.0  # pixels over which local energy is measured
MAX_GAIN = 2.5
STEPS, STEP = 14, 1.4  # number and length (pixels) of the steps in which noise follows the direction, each way


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian."""
    radius = max(1, int(3 * sigma + 0.5))
    place = torch.arange(-radius, radius + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-0.5 * (place / sigma).square())
    kernel = kernel / kernel.sum()
    channels = pictures.shape[1]
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def bands(luminance: Tensor) -> list[Tensor]:
    """Return the two bands of detail of (B, 1, H, W)."""
    blurred = [luminance if sigma < 0.9 else blur(luminance, sigma) for sigma in BANDS]
    return [fine - coarse for fine, coarse in pairwise(blurred)]


def direction(luminance: Tensor) -> Tensor:
    """Return the direction along fine detail (B, 2, H, W) of a luminance (B, 1, H, W), as a double angle weighted by
    energy."""
    smooth = blur(luminance, 1.0)
    x = F.pad(smooth[..., :, 2:] - smooth[..., :, :-2], (1, 1, 0, 0))
    y = F.pad(smooth[..., 2:, :] - smooth[..., :-2, :], (0, 0, 1, 1))
    # A gradient is perpendicular to the detail: its double angle, negated, is the detail's.
    return torch.cat([y * y - x * x, -2 * x * y], 1)


def drawn_along(noise: Tensor, double_angle: Tensor, clear: Tensor) -> Tensor:
    """Smear noise (1, 1, S, S) along a direction field (1, 2, S, S), in proportion to ``clear`` (1, 1, S, S) in [0, 1]."""
    size = noise.shape[-1]
    angle = 0.5 * torch.atan2(double_angle[:, 1], double_angle[:, 0])
    field = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    grid = identity_grid(size, noise)
    total, weight = noise.clone(), torch.ones_like(noise)
    for sign in (1.0, -1.0):
        places, heading = grid.clone(), sign * field
        for step in range(STEPS):
            places = places + heading.permute(0, 2, 3, 1) * (STEP * 2 / size)
            here = F.grid_sample(field, places, padding_mode="border", align_corners=False)
            agrees = torch.sign((here * heading).sum(1, keepdim=True))
            heading = here * torch.where(agrees == 0, torch.ones_like(agrees), agrees)
            share = clear * (0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * (step + 1) / (STEPS + 1))))
            total = total + share * F.grid_sample(noise, places, padding_mode="border", align_corners=False)
            weight = weight + share.square()
    return total / weight.sqrt()


def with_detail(
    picture: Tensor, energies: Tensor, double_angle: Tensor, clear: Tensor, generator: torch.Generator
) -> Tensor:
    """Raise the detail of a picture to the energy that it should have.

    Args:
        picture: (1, 3, S, S) in [0, 1].
        energies: (1, 2, S, S) root mean square of both bands.
        double_angle: (1, 2, S, S), ``clear`` (1, 1, S, S) in [0, 1]: see :func:`drawn_along`.
    """
    luminance = luminance_of(picture)
    size = picture.shape[-1]
    noise = torch.randn(1, 1, size, size, generator=generator).to(picture)
    strands = bands(drawn_along(noise, double_angle, clear))
    added = torch.zeros_like(luminance)
    for number, (band, drawn) in enumerate(zip(bands(luminance), strands, strict=True)):
        wanted = energies[:, number : number + 1]
        own = local_energy(band)
        gain = (wanted / own.clamp_min(1e-5)).clamp(1.0, MAX_GAIN)
        lacking = (wanted.square() - (own * gain).square()).clamp_min(0).sqrt()
        added = added + band * (gain - 1) + drawn / local_energy(drawn).clamp_min(1e-5) * lacking
    return picture + added


def local_energy(band: Tensor) -> Tensor:
    """Return the local root mean square of (B, 1, H, W)."""
    return blur(band.square(), AROUND).clamp_min(0).sqrt()


def luminance_of(pictures: Tensor) -> Tensor:
    """Return the luminance (B, 1, H, W) of pictures (B, 3, H, W), by ITU-R BT.601."""
    return (pictures * pictures.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
