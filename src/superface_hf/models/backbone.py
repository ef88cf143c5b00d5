"""The first stages of EfficientNet-Lite0 (Tan and Le 2019): the feature extractor of both halves of the tracker."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """``repeats`` inverted residual blocks; the first one changes the stride and the number of channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# Table 1 of the EfficientNet paper; Lite0 has its widths and depths, without squeeze-and-excitation, and ReLU6.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# Lite2 is a tenth wider and a fifth deeper; its first and last stages are as deep.
LITE2_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
STEM_CHANNELS = 32
# The batch-norm epsilon of the pretrained weights: another value would change their results.
NORM_EPS = 1e-3


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its batch norm; it keeps the picture's size except for the stride."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=0.03)]


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; a shortcut where the shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*conv_norm(inputs, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [*conv_norm(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6(inplace=True)]
        layers += conv_norm(hidden, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        out = self.layers(features)
        return features + out if self.shortcut else out


class LiteBackbone(nn.Module):
    """The stem and the first ``stages`` stages of EfficientNet-Lite0, or of the network in ``table``.

    Strides after each stage are 2, 4, 8, 16, 16, 32, 32; Lite0's channels 16, 24, 40, 80, 112, 192, 320.
    """

    def __init__(self, stages: int, table: tuple[Stage, ...] = STAGES) -> None:
        super().__init__()
        if not 1 <= stages <= len(STAGES):
            raise ValueError(f"stages must be in 1..{len(STAGES)}, got {stages}")
        self.stem = nn.Sequential(*conv_norm(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True))
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for stage in table[:stages]:
            blocks = []
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedResidual(inputs, stage.channels, stage.kernel, stride, stage.expansion))
                inputs = stage.channels
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the output of every stage, finest first.

        Args:
            pixels: (B, 3, H, W) normalised to about [-1, 1]; H and W multiples of the last stage's stride.
        """
        features = self.stem(pixels)
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs


@torch.no_grad()
def load_imagenet(backbone: LiteBackbone, state: dict[str, Tensor]) -> None:
    """Fill a backbone from the state dict of its EfficientNet-Lite, whose tensors are in the order of computation.

    Raises:
        ValueError: a tensor's shape does not fit its place.
    """
    values = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    targets = [(k, v) for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")]
    for (name, target), value in zip(targets, values, strict=False):
        if target.shape != value.shape:
            raise ValueError(f"{name} is {tuple(target.shape)}, the pretrained tensor {tuple(value.shape)}")
        target.copy_(value)
