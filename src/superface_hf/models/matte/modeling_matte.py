"""The matte network: which pixels belong to people.

The network of MediaPipe's selfie segmentation in torch, so that its weights (Apache-2.0) can be taken over and trained on: a
MobileNetV3 (Howard et al. 2019) reads the picture, and a light decoder whose skips are gated brings the answer back to the
picture's resolution. ``layers.matting`` cuts the picture out for it and makes its answer exact along hair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """An inverted residual block: its channels inside and after, kernel, stride; the gate's channels, and which activation."""

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
SKIPS = (2, 0)  # the blocks whose outputs the decoder sees again, coarsest first; then the stem's
CONTEXT = 128  # channels of the coarsest features that the decoder starts from


@dataclass
class MatteOutput(ModelOutput):
    """What the network says.

    Attributes:
        logits: (B, 1, S, S); their sigmoid is the person's part of each pixel.
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
    """How much of each channel counts, from the means of all: (B, C, H, W) -> (B, C, 1, 1) in [0, 1]."""

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
    """Lets the means of the whole picture say which of the coarsest features count: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(inputs, outputs, 1)
        self.whole = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.features(x)) * torch.sigmoid(self.whole(x.mean((2, 3), keepdim=True)))


class Rise(nn.Module):
    """Doubles the resolution and joins what the encoder saw there: (B, in, H, W), (B, C, 2H, 2W) -> (B, C, 2H, 2W)."""

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
    """Says for each pixel how much of it is a person."""

    config_class = SuperFaceMatteConfig
    config: SuperFaceMatteConfig
    main_input_name = "pixel_values"

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

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As every model's, but in float32 unless ``dtype`` says otherwise: checkpoints may be stored in half precision."""
        if "torch_dtype" not in kwargs:
            kwargs.setdefault("dtype", torch.float32)
        return super().from_pretrained(*args, **kwargs)

    def forward(self, pixel_values: Tensor) -> MatteOutput:
        """The person's part of each pixel.

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
