"""Render a portrait in layers with a model that renders windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..layers.compositing import Compositor
from ..layers.motion import Window
from ..layers.rendered import RenderedWindow


class WindowOutput(Protocol):
    @property
    def rendered(self) -> RenderedWindow: ...


class WindowModel(Protocol):
    """A model that renders windows: a teacher, a student, or the untrained layers."""

    @property
    def device(self) -> Any: ...

    def render(self, prepared: Any, driving: Tensor, window: Window) -> WindowOutput: ...


def precision(device: torch.device, dtype: torch.dtype) -> Any:
    """Return autocast to ``dtype``. Below float32, weights have low precision, but coordinates must not; autocast keeps
    the two apart."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@dataclass(frozen=True, eq=False)
class LayeredPortrait:
    """A portrait that is ready to be animated.

    Attributes:
        portrait: the portrait.
        model: the model that renders it, in ``dtype``.
        prepared: the result of the model's ``prepare``.
        compositor: composes the rendered windows into the picture.
    """

    portrait: Portrait
    model: WindowModel
    dtype: torch.dtype
    prepared: Any
    compositor: Compositor

    @property
    def plate(self) -> np.ndarray:
        """The whole picture without the person, (H, W, 3) uint8."""
        return self.compositor.plate

    def frames(
        self, landmarks: Tensor, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """Render frames; see :meth:`~superface_hf.renderers.base.ReadyPortrait.frames`."""
        device = torch.device(self.model.device)
        driving = landmarks.to(device)
        with torch.inference_mode():
            with precision(device, self.dtype):
                window = Window.following(self.portrait.crop, torch.from_numpy(self.portrait.landmarks), driving)
                rendered = self.model.render(self.prepared, driving, window).rendered
            return self.compositor(rendered, driving, behind, transparent)
