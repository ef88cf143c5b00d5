"""The discriminator of decoded faces: it judges patches."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from ..core.processes import share_gradients
from ..core.schedules import set_rates
from ..losses.patch_discriminator import (
    PatchDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)


class FaceDiscriminator:
    """A discriminator of patches and its training.

    Args:
        learning_rate: of its optimizer, until :meth:`learn` says otherwise.
        clip_norm: longer gradients are shortened to this.
    """

    def __init__(self, accelerator: Accelerator, learning_rate: float, clip_norm: float) -> None:
        self.accelerator, self.clip_norm = accelerator, clip_norm
        network = PatchDiscriminator(condition=0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.5, 0.99))
        self.network = accelerator.prepare_model(network.train(), evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)

    def learn(self, decoded: Tensor, clean: Tensor, learning_rate: float) -> Tensor:
        """Take a step to tell decoded pictures (B, 3, S, S) from clean ones, and return the loss."""
        set_rates(self.optimizer, learning_rate)
        self.network.requires_grad_(True)
        with self.accelerator.autocast():
            real, fake = (self.network(pictures, pictures[:, :0]) for pictures in (clean, decoded.detach()))
            loss = discriminator_loss(real, fake)
        self.accelerator.backward(loss)
        share_gradients(self.accelerator, self.network.parameters())
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def judge(self, decoded: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Compute the decoder's adversarial loss, and the distance of its features from the clean pictures'."""
        self.network.requires_grad_(False)
        with self.accelerator.autocast():
            fake = self.network(decoded, decoded[:, :0])
            with torch.no_grad():
                real = self.network(clean, clean[:, :0])
        return {"adversarial": generator_loss(fake), "matching": feature_matching(real, fake)}
