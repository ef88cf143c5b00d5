"""A discriminator of overlapping patches and its losses: what makes texture sharp where a mean of possibilities is a blur."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# A picture is judged as it is and at half its size.
SCALES = 2


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches (pix2pix, section 3.2.2; spectral norm after Miyato et al. 2018) at two scales.

    Args:
        condition: channels of what the picture is to show, such as the drawing of how open mouth and eyes are.
        width: channels of the first layer.
    """

    def __init__(self, condition: int, width: int = 32) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_one_scale(3 + condition, width) for _ in range(SCALES))

    def forward(self, pictures: Tensor, condition: Tensor) -> list[list[Tensor]]:
        """Return for each scale the features of its layers, the judgement last, of (B, 3, S, S) in [0, 1] and (B, C, S, S)."""
        x = torch.cat((pictures * 2 - 1, condition), dim=1)
        results = []
        for layers in self.scales:
            features = [x]
            for layer in layers:  # type: ignore[attr-defined]
                features.append(layer(features[-1]))
            results.append(features[1:])
            x = F.avg_pool2d(x, 2)
        return results


def _one_scale(inputs: int, width: int) -> nn.ModuleList:
    widths = [inputs, width, 2 * width, 4 * width]
    layers = [
        nn.Sequential(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(widths)
    ]
    return nn.ModuleList([*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))])


def discriminator_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Return the hinge loss (Lim and Ye 2017) of the judgements of real and rendered pictures."""
    losses = [
        F.relu(1 - r[-1].float()).mean() + F.relu(1 + f[-1].float()).mean() for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_loss(fake: list[list[Tensor]]) -> Tensor:
    """Return the adversarial loss of the renderer: low where its pictures pass as real."""
    return torch.stack([-features[-1].float().mean() for features in fake]).mean()


def feature_matching(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Return the mean absolute difference of the discriminator's features (pix2pixHD, section 3.2)."""
    terms = [
        (f.float() - r.detach().float()).abs().mean()
        for theirs, ours in zip(real, fake, strict=True)
        for r, f in zip(theirs[:-1], ours[:-1], strict=True)
    ]
    return torch.stack(terms).mean()
