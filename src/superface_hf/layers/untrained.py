"""The layers without any network, as a renderer: what everything that is learned has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .motion import Window, beside_seams, layer_flow
from .rendered import RenderedWindow


@dataclass(frozen=True, eq=False)
class PreparedLayers:
    """``image`` (1, 3, S, S) the source, as it is; ``landmarks`` (1, 478, 3)."""

    image: Tensor
    landmarks: Tensor


@dataclass(frozen=True, eq=False)
class UntrainedOutput:
    """As a teacher's, as far as the compositor asks for it."""

    rendered: RenderedWindow


@dataclass(frozen=True)
class UntrainedConfig:
    """As of a teacher: ``image_size`` of its windows."""

    image_size: int


class UntrainedLayers:
    """Moves the person by the two meshes alone and paints nothing.

    Args:
        size: side of the windows in pixels.
        device: where it renders.
    """

    def __init__(self, size: int = 512, device: str | torch.device = "cpu") -> None:
        self.config = UntrainedConfig(size)
        self.device = torch.device(device)

    def prepare(self, source: Tensor, matte: Tensor, landmarks: Tensor) -> PreparedLayers:
        """As of the teacher: (1, 3, S, S), (1, 1, S, S), (1, 478, 3)."""
        return PreparedLayers(source, landmarks)

    def render(self, source: PreparedLayers, driving: Tensor, window: Window | None = None) -> UntrainedOutput:
        """As of the teacher: meshes (B, 478, 3) in the source's coordinates."""
        window = window or Window.same(driving)
        size, batch = source.image.shape[-1], len(driving)
        own = window.enter(source.landmarks.float().expand(batch, -1, -1))
        moved = window.enter(driving.float())
        layer = layer_flow(own, moved, size // 4)
        nothing = torch.zeros(batch, 3, size, size, device=driving.device)
        flow = beside_seams(layer, layer, own, moved)
        return UntrainedOutput(RenderedWindow(window, flow, nothing[:, :1] + 1, nothing, nothing[:, :1]))


__all__ = ["PreparedLayers", "UntrainedLayers", "UntrainedOutput"]
