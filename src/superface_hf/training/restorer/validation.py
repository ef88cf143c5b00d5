"""Figures of the restorer on held-out people."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.face_space.texture import luminance_of
from ...models.restorer.modeling_restorer import CodebookRestorer
from ..losses.perceptual import PerceptualDistance
from .codebook import perplexity
from .degraded_faces import FacePairs

FIDELITIES = (0.0, 0.5, 1.0)
AT_ONCE = 4  # pictures


@torch.no_grad()
def restorer_figures(network: CodebookRestorer, pairs: FacePairs, distance: PerceptualDistance) -> dict[str, float]:
    """Return the figures of a network.

    They are: how many codes the clean pictures use, and the perplexity of these; the accuracy of the codes predicted from the
    degraded pictures; and PSNR (dB), perceptual distance, and sharpness as a share of the clean pictures', of the degraded
    pictures, of those restored with each fidelity, and of clean pictures that were only coded.
    """
    columns: dict[str, list[Tensor]] = {}
    codes = []
    for start in range(0, len(pairs.clean), AT_ONCE):
        clean, degraded = (x[start : start + AT_ONCE] for x in (pairs.clean, pairs.degraded))
        true = network.distances(network.clean_features(clean)).argmin(1)
        seen = network.see(degraded)
        found = network.logits(seen.features).argmax(1)
        codes.append(true)
        columns.setdefault("accuracy", []).append((true == found).float().mean((1, 2)))
        pictures = {"degraded": degraded, "coded": network.decode(network.entries(true), clean)}
        pictures |= {f"{w:g}": network.decode(network.entries(found), degraded, seen.levels, w) for w in FIDELITIES}
        for name, picture in pictures.items():
            for measure, values in compared(picture.clamp(0, 1), clean, distance).items():
                columns.setdefault(f"{measure} {name}", []).append(values)
    means = {name: float(torch.cat(values).mean()) for name, values in columns.items()}
    together = torch.cat(codes)
    used = {"codes in use": len(together.unique()), "perplexity": perplexity(together, network.config.num_codes)}
    return {**used, **means}


def compared(picture: Tensor, clean: Tensor, distance: PerceptualDistance) -> dict[str, Tensor]:
    """Return PSNR, perceptual distance and relative sharpness (B,) of pictures (B, 3, S, S) in [0, 1]."""
    error = (picture - clean).square().mean((1, 2, 3)).clamp_min(1e-6)
    apart = [distance(picture[row : row + 1], clean[row : row + 1]) for row in range(len(picture))]
    return {
        "psnr": -10 * error.log10(),
        "perceptual": torch.stack(apart),
        "sharpness": laplacian_variance(picture) / laplacian_variance(clean).clamp_min(1e-9),
    }


def laplacian_variance(pictures: Tensor) -> Tensor:
    """Return the variance of the Laplacian (B,) of the luminance of pictures (B, 3, H, W)."""
    kernel = pictures.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return F.conv2d(luminance_of(pictures), kernel).flatten(1).var(1)
