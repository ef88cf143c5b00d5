"""The discriminator of painted holes: it judges patches, only where a hole was."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from ...data.pictures.holes import HoleBatch
from ..core.processes import share_gradients
from ..core.schedules import set_rates
from ..losses.patch_discriminator import PatchDiscriminator, feature_matching


class HoleDiscriminator:
    """A discriminator of patches and its training.

    Args:
        learning_rate: of its optimizer, until :meth:`learn` says otherwise.
        clip_norm: longer gradients are shortened to this.
    """

    def __init__(self, accelerator: Accelerator, learning_rate: float, clip_norm: float) -> None:
        self.accelerator, self.clip_norm = accelerator, clip_norm
        network = PatchDiscriminator(condition=1, width=48)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.5, 0.99))
        self.network = accelerator.prepare_model(network.train(), evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)

    def learn(self, painted: Tensor, batch: HoleBatch, learning_rate: float) -> Tensor:
        """Take a step to tell painted pictures (B, 3, S, S) from the batch's true ones, and return the loss."""
        set_rates(self.optimizer, learning_rate)
        self.network.requires_grad_(True)
        with self.accelerator.autocast():
            real, fake = (self.network(pictures, batch.asked) for pictures in (batch.pictures, painted.detach()))
            loss = discriminator_loss(real, batch.asked, True) + discriminator_loss(fake, batch.asked, False)
        self.accelerator.backward(loss)
        share_gradients(self.accelerator, self.network.parameters())
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def judge(self, painted: Tensor, batch: HoleBatch) -> dict[str, Tensor]:
        """Compute the painter's adversarial loss, and the distance of its features from the real ones'."""
        self.network.requires_grad_(False)
        with self.accelerator.autocast():
            fake = self.network(painted, batch.asked)
            with torch.no_grad():
                real = self.network(batch.pictures, batch.asked)
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
