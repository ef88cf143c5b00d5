"""The discriminator of decoded faces: it judges patches."""

from __future__ import annotations

from accelerate import Accelerator
from torch import Tensor

from ..losses.patch_discriminator import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss
from ..losses.trained_discriminator import TrainedDiscriminator


class FaceDiscriminator(TrainedDiscriminator):
    """Judges patches of faces; for the arguments see :class:`TrainedDiscriminator`."""

    def __init__(self, accelerator: Accelerator, learning_rate: float, clip_norm: float) -> None:
        super().__init__(accelerator, PatchDiscriminator(condition=0), learning_rate, clip_norm)

    def learn(self, decoded: Tensor, clean: Tensor, learning_rate: float) -> Tensor:
        """Take a step to tell decoded pictures (B, 3, S, S) from clean ones, and return the loss."""

        def loss() -> Tensor:
            real, fake = (self.network(pictures, pictures[:, :0]) for pictures in (clean, decoded.detach()))
            return discriminator_loss(real, fake)

        return self.descend(loss, learning_rate)

    def judge(self, decoded: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """Compute the decoder's adversarial loss, and the distance of its features from the clean pictures'."""
        fake, real = self.judgements(decoded, clean, clean[:, :0])
        return {"adversarial": generator_loss(fake), "matching": feature_matching(real, fake)}
