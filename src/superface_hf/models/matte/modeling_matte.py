"""The matte network: predicts which pixels belong to people.

It is the network of MediaPipe's selfie segmentation in torch, so that its weights (Apache-2.0) can be converted and
trained further: a MobileNetV3 (Howard et al. 2019) encodes the picture, and a light decoder with gated skips restores
the resolution. ``layers.matting`` crops its input and refines its output along hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...hub.model import HubMixin
from .configuration_matte import SuperFaceMatteConfig


@dataclass(frozen=True)
class BlockShape:
    """The shape of an inverted residual block: inner and output channels, kernel, stride, channels of the gate, and
    activation."""

    inside: int
    outputs: int
    kernel: int
    stride: int
    gate: int = 0
    hard: bool = True


STEM = 16
BLOCKS = (
    BlockShape(16, 16, 3, 2, gate=8, hard=False),
    BlockShape(72, 24, 3, 2, hard=False),
    BlockShape(88, 24, 3, 1, hard=False),
    BlockShape(96, 32, 5, 2, gate=24),
    BlockShape(128, 32, 5, 1, gate=32),
    BlockShape(128, 32, 5, 1, gate=32),
    BlockShape(96, 32, 5, 1, gate=24),
    BlockShape(96, 32, 5, 1, gate=24),
)
SKIPS = (2, 0)  # the blocks whose outputs are skip connections, coarsest first; the stem's output is the last one
CONTEXT = 128  # channels of the decoder's coarsest features


@dataclass
class MatteOutput(ModelOutput):
    """The output of the matte network.

    Attributes:
        logits: (B, 1, S, S); their sigmoid is the person's share of each pixel.
    """

    logits: Tensor | None = None


class SameConvolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride, less before than after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        before = (kernel - stride) // 2
        self.edges = (before, kernel - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.edges))


class Gate(nn.Module):
    """Squeeze-and-excitation: weights of channels from their averages, (B, C, H, W) -> (B, C, 1, 1) in [0, 1]."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, inside, 1)
        self.leave = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.leave(F.relu(self.enter(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """An inverted residual block: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, shape: BlockShape) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, shape.inside, 1)
        self.taps = SameConvolution(shape.inside, shape.inside, shape.kernel, shape.stride, groups=shape.inside)
        self.gate = Gate(shape.inside, shape.gate) if shape.gate else None
        self.leave = nn.Conv2d(shape.inside, shape.outputs, 1)
        self.activate = nn.Hardswish() if shape.hard else nn.ReLU()
        self.residual = shape.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inside = self.activate(self.taps(self.activate(self.enter(x))))
        if self.gate is not None:
            inside = inside * self.gate(inside)
        out = self.leave(inside)
        return x + out if self.residual else out


class Context(nn.Module):
    """Weighs the coarsest features by their averages over the picture: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(inputs, outputs, 1)
        self.whole = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x)) * torch.sigmoid(self.whole(x.mean((2, 3), keepdim=True)))


class Rise(nn.Module):
    """Doubles the resolution and adds the encoder's features: (B, in, H, W), (B, C, 2H, 2W) -> (B, C, 2H, 2W)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, channels, 1)
        self.gate = Gate(channels, channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.taps = SameConvolution(channels, channels, 3, groups=channels)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        x = self.enter(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
        x = F.relu(self.mix(x + beside * self.gate(x + beside)))
        return x + F.relu(self.taps(x))


class SuperFaceMatteModel(HubMixin, PreTrainedModel):
    """Predicts for each pixel how much of it is a person."""

    config_class = SuperFaceMatteConfig
    config: SuperFaceMatteConfig
    main_input_name = "pixel_values"
    default_dtype = torch.float32

    def __init__(self, config: SuperFaceMatteConfig) -> None:
        super().__init__(config)
        widths = [STEM, *(shape.outputs for shape in BLOCKS)]
        self.stem = SameConvolution(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList(Block(width, shape) for width, shape in zip(widths, BLOCKS, strict=False))
        self.context = Context(widths[-1], CONTEXT)
        skips = [*(BLOCKS[number].outputs for number in SKIPS), STEM]
        self.rises = nn.ModuleList(Rise(a, b) for a, b in zip([CONTEXT, *skips], skips, strict=False))
        self.head = nn.ConvTranspose2d(STEM, 1, 2, stride=2)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor) -> MatteOutput:
        """Predict the person's share of each pixel.

        Args:
            pixel_values: (B, 3, S, S) in [0, 1]; S is ``config.image_size``, or another multiple of 16.
        """
        x = F.hardswish(self.stem(pixel_values.to(self.dtype)))
        seen = [x]
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        x = self.context(x)
        beside = [*(seen[number + 1] for number in SKIPS), seen[0]]
        for rise, skip in zip(self.rises, beside, strict=True):
            x = rise(x, skip)
        return MatteOutput(logits=self.head(x))


__all__ = ["MatteOutput", "SuperFaceMatteModel"]
