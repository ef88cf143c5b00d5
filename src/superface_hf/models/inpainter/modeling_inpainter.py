"""The inpainter: fills a hole in a picture with plausible content.

It starts from the smooth pull-push fill and adds lines and textures. At an eighth of the resolution its blocks have
large receptive fields, by dilated convolutions, and a global one, by a convolution of the spectrum (after LaMa: Suvorov
et al. 2022, section 2.1), so lines and textures continue into the hole. Freshly initialised, it returns the pull-push
fill.
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
from .configuration_inpainter import SuperFaceInpainterConfig
from .pull_push import pull_push

STRIDE = 8  # of the coarsest features
SLOPE = 0.1  # of leaky ReLUs for negative values


@dataclass
class InpainterOutput(ModelOutput):
    """The filled picture.

    Attributes:
        pictures: (B, 3, H, W) in [0, 1]; the given pixels where nothing was missing.
        fill: (B, 3, H, W) the pull-push fill that it started from.
    """

    pictures: Tensor | None = None
    fill: Tensor | None = None


class ZeroConvolution(nn.Conv2d):
    """A convolution that is initialised to zero."""


class Convolution(nn.Sequential):
    """A 3x3 convolution and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(SLOPE, inplace=True))


class Spectrum(nn.Module):
    """Mixes the frequencies of the whole picture: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # Fourier transforms need single precision.
        with torch.autocast(x.device.type, enabled=False):
            waves = torch.fft.rfft2(x.float(), norm="ortho")
            parts = torch.cat([waves.real, waves.imag], dim=1).to(self.mix.weight.dtype)
            mixed = self.out(F.leaky_relu(self.mix(parts), SLOPE)).float()
            real, imaginary = mixed.chunk(2, dim=1)
            return torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho").to(x.dtype)


class Block(nn.Module):
    """A residual block with a dilated convolution and a global one: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.enter = nn.Conv2d(channels, bottleneck, 1)
        self.taps = nn.Conv2d(bottleneck, bottleneck, 3, padding=dilation, dilation=dilation)
        self.spectrum = Spectrum(bottleneck)
        self.leave = ZeroConvolution(bottleneck, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        inside = F.leaky_relu(self.enter(self.norm(x)), SLOPE)
        return x + self.leave(F.leaky_relu(self.taps(inside) + self.spectrum(inside), SLOPE))


class SuperFaceInpainterModel(HubMixin, PreTrainedModel):
    """Fills holes in pictures."""

    config_class = SuperFaceInpainterConfig
    config: SuperFaceInpainterConfig
    main_input_name = "pixel_values"
    default_dtype = torch.float32

    def __init__(self, config: SuperFaceInpainterConfig) -> None:
        super().__init__(config)
        full, half, fourth, eighth = config.channels
        self.enter = Convolution(5, full)
        self.to_half = Convolution(full, half, 2)
        self.to_fourth = Convolution(half, fourth, 2)
        self.to_eighth = Convolution(fourth, eighth, 2)
        self.blocks = nn.ModuleList(Block(eighth, config.bottleneck, rate) for rate in config.dilations)
        self.from_eighth = Convolution(eighth + fourth, fourth)
        self.from_fourth = Convolution(fourth + half, half)
        self.from_half = Convolution(half + full, full)
        self.head = ZeroConvolution(full, 3, 3, padding=1)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroConvolution):
            init.zeros_(module.weight)
            init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, known: Tensor) -> InpainterOutput:
        """Fill the hole.

        Args:
            pixel_values: (B, 3, H, W) in [0, 1]; the content of the hole does not matter.
            known: (B, 1, H, W): 1 where the picture is known, 0 in the hole.
        """
        fill = pull_push(pixel_values.float(), known.float())
        height, width = fill.shape[-2:]
        grain = self._grain(fill)
        x = torch.cat([fill * 2 - 1, known.float(), grain], dim=1).to(self.dtype)
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        full = self.enter(x)
        half = self.to_half(full)
        fourth = self.to_fourth(half)
        x = self.to_eighth(fourth)
        for block in self.blocks:
            x = block(x)
        x = self.from_eighth(torch.cat([_twice(x), fourth], dim=1))
        x = self.from_fourth(torch.cat([_twice(x), half], dim=1))
        x = self.from_half(torch.cat([_twice(x), full], dim=1))
        change = self.head(x)[..., :height, :width].float()
        filled = (fill + change).clamp(0, 1) if not self.training else fill + change
        return InpainterOutput(pictures=torch.where(known >= 1, pixel_values.float(), filled), fill=fill)

    def _grain(self, like: Tensor) -> Tensor:
        """Return noise (B, 1, H, W) as raw material of texture; outside of training it depends on the size alone."""
        if self.training:
            return torch.randn_like(like[:, :1])
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 1, *like.shape[-2:], generator=generator).to(like.device).expand(len(like), -1, -1, -1)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


__all__ = ["InpainterOutput", "SuperFaceInpainterModel"]
