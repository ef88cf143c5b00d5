"""Render a portrait in layers with a model that renders windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..layers.compositing import Compositor
from ..layers.motion import Window
from ..layers.rendered import RenderedWindow
from ..models.teacher.key_frames import key_frames


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
        driving, pictures = landmarks.to(self.model.device), list[np.ndarray]()
        with torch.inference_mode():
            for part, rendered in self._parts(driving):
                scenes = None if behind is None else behind[len(pictures) : len(pictures) + len(part)]
                pictures += self.compositor(rendered, part, scenes, transparent)
        return pictures

    def _parts(self, driving: Tensor) -> Iterator[tuple[Tensor, RenderedWindow]]:
        """Yield landmarks and their rendered windows."""
        yield driving, self._output(driving).rendered

    def _output(self, driving: Tensor, *before: Any) -> Any:
        with precision(torch.device(self.model.device), self.dtype):
            window = Window.following(self.portrait.crop, torch.from_numpy(self.portrait.landmarks), driving)
            return self.model.render(self.prepared, driving, window, *before)


@dataclass(frozen=True, eq=False)
class KeyFramePortrait(LayeredPortrait):
    """A portrait of a teacher, whose batches are consecutive frames: its networks run for key frames only."""

    def _parts(self, driving: Tensor) -> Iterator[tuple[Tensor, RenderedWindow]]:
        before, start = None, 0
        for key in key_frames(driving):
            part = driving[start : key + 1]
            output = self._output(part, before)
            yield part, output.rendered
            before, start = output.changes, key + 1
