"""A portrait in layers under a model that renders windows: what is made once, and frames of it."""

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
    """A teacher, a student, or the untrained layers."""

    @property
    def device(self) -> Any: ...

    def render(self, prepared: Any, driving: Tensor, window: Window) -> WindowOutput: ...


def precision(device: torch.device, dtype: torch.dtype) -> Any:
    """Below float32 the weights are narrow, but coordinates must not be: autocast knows which is which."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@dataclass(frozen=True, eq=False)
class LayeredPortrait:
    """A portrait, ready to be moved.

    Attributes:
        portrait: which one.
        model: what renders it, in ``dtype``.
        prepared: what the model made of it.
        compositor: puts what the model renders into the picture.
    """

    portrait: Portrait
    model: WindowModel
    dtype: torch.dtype
    prepared: Any
    compositor: Compositor

    @property
    def plate(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole picture without the person."""
        return self.compositor.plate

    def frames(
        self, landmarks: Tensor, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """See :meth:`~superface_hf.renderers.base.ReadyPortrait.frames`."""
        device = torch.device(self.model.device)
        driving = landmarks.to(device)
        with torch.inference_mode():
            with precision(device, self.dtype):
                window = Window.following(self.portrait.crop, torch.from_numpy(self.portrait.landmarks), driving)
                rendered = self.model.render(self.prepared, driving, window).rendered
            return self.compositor(rendered, driving, behind, transparent)
