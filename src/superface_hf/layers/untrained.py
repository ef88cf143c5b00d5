"""The layers without any network, as a renderer: the baseline that everything learned has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .motion import Window, beside_seams, layer_flow
from .rendered import RenderedWindow


@dataclass(frozen=True, eq=False)
class PreparedLayers:
    """A prepared source: ``image`` (1, 3, S, S) and ``landmarks`` (1, 478, 3)."""

    image: Tensor
    landmarks: Tensor


@dataclass(frozen=True, eq=False)
class UntrainedOutput:
    """The part of a teacher's output that the compositor uses."""

    rendered: RenderedWindow


@dataclass(frozen=True)
class UntrainedConfig:
    """The part of a teacher's configuration that renderers use: ``image_size`` of its windows."""

    image_size: int


class UntrainedLayers:
    """Moves the person by the two meshes alone and paints nothing.

    Args:
        size: side of the windows in pixels.
        device: the device to render on.
    """

    def __init__(self, size: int = 512, device: str | torch.device = "cpu") -> None:
        self.config = UntrainedConfig(size)
        self.device = torch.device(device)

    def prepare(self, source: Tensor, matte: Tensor, landmarks: Tensor) -> PreparedLayers:
        """Prepare a source as the teacher does: (1, 3, S, S), (1, 1, S, S), (1, 478, 3)."""
        return PreparedLayers(source, landmarks)

    def render(self, source: PreparedLayers, driving: Tensor, window: Window | None = None) -> UntrainedOutput:
        """Render as the teacher does: meshes (B, 478, 3) in the source's coordinates."""
        window = window or Window.same(driving)
        size, batch = source.image.shape[-1], len(driving)
        own = window.enter(source.landmarks.float().expand(batch, -1, -1))
        moved = window.enter(driving.float())
        layer = layer_flow(own, moved, size // 4)
        nothing = torch.zeros(batch, 3, size, size, device=driving.device)
        flow = beside_seams(layer, layer, own, moved)
        return UntrainedOutput(RenderedWindow(window, flow, nothing[:, :1] + 1, nothing, nothing[:, :1]))


__all__ = ["PreparedLayers", "UntrainedLayers", "UntrainedOutput"]
