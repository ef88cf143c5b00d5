"""A portrait in layers under a renderer: what is made once, and frames of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..layers.compositing import Compositor
from ..layers.motion import Window
from ..layers.portrait import PortraitLayers
from ..layers.rendered import RenderedWindow
from .portrait import Portrait


class LayeredRenderer(Protocol):
    """What moves the person of a portrait in layers: the untrained layers, or a teacher on them."""

    config: Any
    device: Any

    def prepare(self, source: Tensor, matte: Tensor, landmarks: Tensor) -> Any:
        """Of (1, 3, S, S), (1, 1, S, S) and (1, 478, 3); what it gives has the ``image`` (1, 3, S, S) that it restored."""

    def render(self, source: Any, driving: Tensor, window: Window) -> Any:
        """Meshes (B, 478, 3) in the source's coordinates; what it gives has ``rendered``, a RenderedWindow."""


@dataclass(frozen=True, eq=False)
class LayeredFrames:
    """What a renderer gave for B frames, and the landmarks (B, 478, 3) that they show."""

    rendered: RenderedWindow
    driving: Tensor


@dataclass(frozen=True, eq=False)
class LayeredPortrait:
    """A portrait, ready to be moved.

    Attributes:
        portrait: which one.
        prepared: what the renderer made of it.
        compositor: puts what it renders into the picture.
    """

    portrait: Portrait
    prepared: Any
    compositor: Compositor

    @classmethod
    def of(cls, portrait: Portrait, layers: PortraitLayers, model: LayeredRenderer) -> LayeredPortrait:
        """Has the renderer prepare the portrait; what it restores of a poor picture goes into the layers."""
        source, matte = layers.source(portrait.crop, model.config.image_size)
        landmarks = torch.from_numpy(portrait.landmarks)[None]
        prepared = model.prepare(*(each.to(model.device) for each in (source, matte, landmarks)))
        layers = layers.with_restored(portrait.crop, source, prepared.image.cpu())
        return cls(portrait, prepared, Compositor(layers, portrait.crop, portrait.landmarks))

    @property
    def plate(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole picture without the person."""
        return self.compositor.plate

    def render(self, model: LayeredRenderer, driving: Tensor) -> LayeredFrames:
        """Meshes (B, 478, 3) in IMAGE coordinates of the portrait's crop."""
        window = Window.following(self.portrait.crop, torch.from_numpy(self.portrait.landmarks), driving)
        return LayeredFrames(model.render(self.prepared, driving, window).rendered, driving)

    def compose(
        self, frames: LayeredFrames, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """As :class:`~superface_hf.layers.compositing.Compositor` does: (H, W, 3) uint8 each, transparent ones (H, W, 4)."""
        return self.compositor(frames.rendered, frames.driving, behind, transparent)


__all__ = ["LayeredFrames", "LayeredPortrait"]
