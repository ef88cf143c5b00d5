"""The loss of audio-to-lip: position, velocity, closure, rhythm and amplitude of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model.lips import CLOSED, lip_points, mouth_opening

MILLIMETRES = 90.0  # in an inter-ocular distance (outer corners) of an adult, about
# Where the truth opens by less than this (standard deviation, inter-ocular distances), its rhythm is noise.
STILL = 0.008
NEAR = 10  # frames
SMALL = 3.0  # mm, the distance up to which errors count squared


@dataclass(frozen=True)
class LipLossWeights:
    """Weights of the terms.

    Attributes:
        position: of the lips' distance to the truth, in millimetres.
        coefficients: of the squared error of the coefficients, which also hold jaw and cheeks.
        velocity: of the error of the lips' speed, in millimetres a frame.
        closure: of lips that are apart, in millimetres, where those of the truth touch; on average over all such frames, and
            over those amid speech; and of lips that nearly touch where those of the truth are well apart.
        rhythm: of 1 - the correlation of the opening over a window. Distances alone are won by a mouth that hardly moves.
        amplitude: of an opening that varies less than the truth's: the share that is missing.
    """

    position: float = 2.5
    coefficients: float = 0.1
    velocity: float = 1.5
    closure: float = 0.25
    rhythm: float = 1.0
    amplitude: float = 0.5


def lip_loss(mouth: Tensor, truth: Tensor, weight: Tensor, weights: LipLossWeights) -> tuple[Tensor, dict[str, float]]:
    """Return the training objective.

    Args:
        mouth, truth: (B, T, 30) coefficients.
        weight: (B, T) how much each frame counts.

    Returns:
        The loss, and its terms for the log.
    """
    lips, true_lips = lip_points(mouth) * MILLIMETRES, lip_points(truth) * MILLIMETRES
    both = weight[:, 1:] * weight[:, :-1]
    opening, true_opening = mouth_opening(mouth), mouth_opening(truth)
    shut = weight * (true_opening < CLOSED)
    apart = F.relu(opening - 0.75 * CLOSED) * MILLIMETRES
    wide = weight * (true_opening > 2 * CLOSED)
    pressed = F.relu(1.5 * CLOSED - opening) * MILLIMETRES
    rhythm, amplitude = _rhythm(opening, true_opening, weight)
    speed = (lips.diff(dim=1) - true_lips.diff(dim=1)).norm(dim=-1).mean(-1)
    terms = {
        "position": _mean(_soft_distance(lips - true_lips).mean(-1), weight),
        "coefficients": _mean((mouth - truth).square().mean(-1), weight),
        "velocity": _mean(speed, both),
        "closure": _mean(apart, shut) + _mean(apart, shut * _moving(true_opening)) + _mean(pressed, wide),
        "rhythm": rhythm,
        "amplitude": amplitude,
    }
    loss = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return loss, {name: float(value.detach()) for name, value in terms.items()}


def _soft_distance(difference: Tensor) -> Tensor:
    """Return the length of (..., 3) vectors, but squared where it is small: a plain distance would settle on the median, which
    for lips that are mostly nearly shut is a mumble."""
    return (difference.square().sum(-1) + SMALL**2).sqrt() - SMALL


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _moving(opening: Tensor) -> Tensor:
    """Return the frames (B, T) near which the mouth opens: a closure among them is a p, b or m, and brief."""
    return (F.max_pool1d(opening[:, None], 2 * NEAR + 1, stride=1, padding=NEAR)[:, 0] > 2 * CLOSED).float()


def _rhythm(opening: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 - correlation, and the missing share of the variation, over the windows (B, T) where the truth moves."""
    count = weight.sum(1, keepdim=True).clamp(min=1)
    own = (opening - (opening * weight).sum(1, keepdim=True) / count) * weight
    true = (truth - (truth * weight).sum(1, keepdim=True) / count) * weight
    own_spread, true_spread = ((x.square().sum(1) / count[:, 0] + 1e-6).sqrt() for x in (own, true))
    correlation = (own * true).sum(1) / count[:, 0] / (own_spread * true_spread)
    moving = (true_spread > STILL).float()
    missing = F.relu(1 - own_spread / true_spread)
    return tuple((value * moving).sum() / moving.sum().clamp(min=1) for value in (1 - correlation, missing))  # type: ignore[return-value]
