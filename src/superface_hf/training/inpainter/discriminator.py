"""The discriminator of painted holes: it judges patches, only where a hole was."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from ...data.pictures.holes import HoleBatch
from ..losses.patch_discriminator import PatchDiscriminator, feature_matching
from ..losses.trained_discriminator import TrainedDiscriminator


class HoleDiscriminator(TrainedDiscriminator):
    """Judges patches where something was asked; for the arguments see :class:`TrainedDiscriminator`."""

    def __init__(self, accelerator: Accelerator, learning_rate: float, clip_norm: float) -> None:
        super().__init__(accelerator, PatchDiscriminator(condition=1, width=48), learning_rate, clip_norm)

    def learn(self, painted: Tensor, batch: HoleBatch, learning_rate: float) -> Tensor:
        """Take a step to tell painted pictures (B, 3, S, S) from the batch's true ones, and return the loss."""

        def loss() -> Tensor:
            real, fake = (self.network(pictures, batch.asked) for pictures in (batch.pictures, painted.detach()))
            return discriminator_loss(real, batch.asked, True) + discriminator_loss(fake, batch.asked, False)

        return self.descend(loss, learning_rate)

    def judge(self, painted: Tensor, batch: HoleBatch) -> dict[str, Tensor]:
        """Compute the painter's adversarial loss, and the distance of its features from the real ones'."""
        fake, real = self.judgements(painted, batch.pictures, batch.asked)
        return {"adversarial": generator_loss(fake, batch.asked), "matching": feature_matching(real, fake)}


def discriminator_loss(judged: list[list[Tensor]], asked: Tensor, real: bool) -> Tensor:
    """Return the hinge loss of the discriminator's judgements; painted pictures are painted only where something was asked."""
    losses = []
    for features in judged:
        verdict = features[-1].float()
        if real:
            losses.append(F.relu(1 - verdict).mean())
            continue
        here = F.interpolate(asked, size=verdict.shape[-2:], mode="area")
        losses.append((F.relu(1 + verdict) * here + F.relu(1 - verdict) * (1 - here) * 0.2).mean() * 2)
    return torch.stack(losses).mean()


def generator_loss(judged: list[list[Tensor]], asked: Tensor) -> Tensor:
    """Return the loss of the painter: low where its patches pass as real."""
    losses = []
    for features in judged:
        verdict = features[-1].float()
        here = F.interpolate(asked, size=verdict.shape[-2:], mode="area")
        losses.append((-verdict * here).sum() / here.sum().clamp_min(1))
    return torch.stack(losses).mean()
