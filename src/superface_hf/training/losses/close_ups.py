"""The discriminator of close-ups: it makes teeth and lashes sharp where a mean of possibilities is a blur."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from ...face_model.mesh_image import OPENING_CHANNELS
from ..core.layout import channels_last
from .patch_discriminator import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss


class CloseUpDiscriminator:
    """A discriminator and its training, on close-ups: rendered, wanted and condition (see ``teacher.loss.close_ups``).

    Processes may have different numbers of close-ups, or none: gradients are shared by hand, once a step, instead of in
    each backward pass.
    """

    def __init__(self, accelerator: Accelerator, learning_rate: float) -> None:
        self.accelerator = accelerator
        network = channels_last(PatchDiscriminator(OPENING_CHANNELS))
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.5, 0.99))
        self.network = accelerator.prepare_model(network, evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self._learned = 0

    def judge(self, patches: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """Compute the renderer's adversarial loss, and the distance of its features from the real ones'."""
        self.network.eval().requires_grad_(False)
        passing, matching = [], []
        for rendered, wanted, condition in patches:
            fake = self.network(rendered, condition)
            with torch.no_grad():
                real = self.network(wanted, condition)
            passing.append(generator_loss(fake))
            matching.append(feature_matching(real, fake))
        return {"adversarial": torch.stack(passing).mean(), "matching": torch.stack(matching).mean()}

    def learn(self, patches: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Gather the gradient of the discriminator's own loss on the same patches, and return the loss."""
        self.network.train().requires_grad_(True)
        with self.accelerator.autocast():
            losses = [
                discriminator_loss(self.network(wanted, condition), self.network(rendered.detach(), condition))
                for rendered, wanted, condition in patches
            ]
        loss = torch.stack(losses).mean()
        self.accelerator.backward(loss)
        self._learned += 1
        return loss.detach()

    def step(self, learning_rate: float) -> None:
        """Take a step by the mean of what was gathered since the last one, unless that is nothing, or not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self._share():
            self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        self.optimizer.zero_grad()
        self._learned = 0

    def _share(self) -> bool:
        """Make the gradients the mean over all parts of the batch and all processes; return whether one of them is finite."""
        parameters = list(self.network.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        count = gradients[0].new_tensor([float(self._learned)])
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [count])
        if self.accelerator.num_processes > 1:
            flat = self.accelerator.reduce(flat, "sum")
            # Spectral norms were estimated in each process, which may have had other pictures: take the main one's.
            for buffer in self.network.buffers():
                buffer.copy_(broadcast(buffer))
        total = flat[:-1] / flat[-1]
        for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
        return bool(total.isfinite().all())
