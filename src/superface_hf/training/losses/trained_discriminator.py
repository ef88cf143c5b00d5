"""A discriminator that learns along with what it judges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from ..core.processes import share_gradients
from ..core.schedules import set_rates
from .patch_discriminator import PatchDiscriminator


class TrainedDiscriminator:
    """A discriminator of patches and its training.

    Args:
        network: the discriminator.
        learning_rate: of its optimizer, until :meth:`descend` says otherwise.
        clip_norm: longer gradients are shortened to this.
    """

    def __init__(
        self, accelerator: Accelerator, network: PatchDiscriminator, learning_rate: float, clip_norm: float
    ) -> None:
        self.accelerator, self.clip_norm = accelerator, clip_norm
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.5, 0.99))
        self.network = accelerator.prepare_model(network.train(), evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)

    def descend(self, loss_of: Callable[[], Tensor], learning_rate: float) -> Tensor:
        """Take a step toward a lower loss, and return it; a gradient that is not finite is skipped."""
        set_rates(self.optimizer, learning_rate)
        self.network.requires_grad_(True)
        with self.accelerator.autocast():
            loss = loss_of()
        self.accelerator.backward(loss)
        share_gradients(self.accelerator, self.network.parameters())
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def judgements(
        self, made: Tensor, true: Tensor, condition: Tensor
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return what the network sees in made pictures, with gradients to them, and in true ones, without."""
        self.network.requires_grad_(False)
        with self.accelerator.autocast():
            fake = self.network(made, condition)
            with torch.no_grad():
                return fake, self.network(true, condition)
