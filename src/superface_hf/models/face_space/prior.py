"""The group prior: the average appearance of people of a presentation, age and skin tone, as a few pictures.

It is a smooth regression on six features, in which every person has the same weight. Person and background are separate: the
person's colours are averages over the people who cover a pixel, and ``alpha`` is the share of those people.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import SuperFaceError

YOUNGEST, OLDEST = 18.0, 90.0  # years; no face is drawn younger or older
OLDEST_SEEN = 62.0  # years; too few training people are older, so the appearance stays constant beyond
FEATURES = 6
MEAN_AGE, AGE_SPAN = 40.0, 20.0  # years


@dataclass(frozen=True)
class Group:
    """The group of people whose average a portrait is drawn around.

    Attributes:
        presentation: 0 feminine to 1 masculine.
        age: years, 18 to 90.
        tone: 0 the lightest to 1 the darkest skin of the training people.
    """

    presentation: float
    age: float
    tone: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (("presentation", 0, 1), ("age", YOUNGEST, OLDEST), ("tone", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise SuperFaceError(f"{name} must be a number from {low:g} to {high:g}, not {value}.")

    @property
    def features(self) -> Tensor:
        """The regression features (6,): 1, presentation, age, its square, presentation times age, tone."""
        p, a = 2 * self.presentation - 1, (min(self.age, OLDEST_SEEN) - MEAN_AGE) / AGE_SPAN
        return torch.tensor([1.0, p, a, a * a, p * a, 2 * self.tone - 1])


class Maps(nn.Module):
    """Pictures (K, C, H, W) that are summed with weights, stored as int8 with one scale each.

    Args:
        count, channels, size: K, C, and H = W.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, count: int, channels: int, size: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(count, channels, size, size, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(count))

    def forward(self, weights: Tensor) -> Tensor:
        """Sum the pictures with weights (B, K): (B, C, H, W)."""
        scaled = weights.to(self.scale) * self.scale
        return torch.einsum("bk,kchw->bchw", scaled, self.codes.to(scaled.dtype))

    def project(self, pictures: Tensor) -> Tensor:
        """Return the inner products (B, K) of pictures (B, C, H, W) with each of the maps."""
        return torch.einsum("bchw,kchw->bk", pictures, self.codes.to(pictures.dtype)) * self.scale

    def store(self, maps: Tensor) -> None:
        """Quantise maps (K, C, H, W) to int8 and store them."""
        largest = maps.abs().flatten(1).amax(1).clamp_min(1e-8)
        self.scale.copy_(largest / 127)
        self.codes.copy_((maps / self.scale.view(-1, 1, 1, 1)).round().clamp(-127, 127).to(torch.int8))


class GroupPrior(nn.Module):
    """The pictures of the prior.

    Args:
        size: side of the person's colours, in pixels; alpha has half of it, the background an eighth, texture a quarter.
        shape_size: number of coefficients of the face's shape.
    """

    def __init__(self, size: int, shape_size: int) -> None:
        super().__init__()
        self.register_buffer("person_mean", torch.zeros(3, size, size, dtype=torch.float16))
        self.person = Maps(FEATURES, 3, size)
        self.alpha = Maps(FEATURES, 1, size // 2)
        self.background = Maps(FEATURES, 3, size // 8)
        # Local energy of two bands of fine detail, and its direction (double angle), weighted by how clear it is.
        self.texture = Maps(FEATURES, 4, size // 4)
        self.register_buffer("shape", torch.zeros(FEATURES, shape_size))

    person_mean: Tensor
    shape: Tensor
