"""A portrait in layers under a renderer: what is made once, and frames of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..layers.compositing import Compositor
from ..layers.motion import Window
from ..layers.portrait import PortraitLayers
from ..layers.rendered import RenderedWindow

if TYPE_CHECKING:
    from ..models.student.modeling_student import SuperFaceStudentModel
    from ..models.teacher.modeling_teacher import SuperFaceTeacherModel


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
    def of(cls, portrait: Portrait, layers: PortraitLayers, model: SuperFaceTeacherModel) -> LayeredPortrait:
        """Has the renderer prepare the portrait; what it restores of a poor picture goes into the layers."""
        source, matte = layers.source(portrait.crop, model.config.image_size)
        landmarks = torch.from_numpy(portrait.landmarks)[None]
        prepared = model.prepare(*(each.to(model.device) for each in (source, matte, landmarks)))
        layers = layers.with_restored(portrait.crop, source, prepared.image.cpu())
        return cls(portrait, prepared, Compositor(layers, portrait.crop, portrait.landmarks))

    @classmethod
    def stored(cls, portrait: Portrait, student: SuperFaceStudentModel) -> LayeredPortrait:
        """What a student brings, see :func:`~superface_hf.animation.portrait.stored_portrait`."""
        prepared = student.prepare()
        compositor = Compositor(student.layers(), portrait.crop, portrait.landmarks, prepared.prior)
        return cls(portrait, prepared, compositor)

    @property
    def plate(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole picture without the person."""
        return self.compositor.plate

    def render(self, model: SuperFaceTeacherModel | SuperFaceStudentModel, driving: Tensor) -> LayeredFrames:
        """Meshes (B, 478, 3) in IMAGE coordinates of the portrait's crop."""
        window = Window.following(self.portrait.crop, torch.from_numpy(self.portrait.landmarks), driving)
        return LayeredFrames(model.render(self.prepared, driving, window).rendered, driving)

    def compose(
        self, frames: LayeredFrames, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """As :class:`~superface_hf.layers.compositing.Compositor` does: (H, W, 3) uint8 each, transparent ones (H, W, 4)."""
        return self.compositor(frames.rendered, frames.driving, behind, transparent)


__all__ = ["LayeredFrames", "LayeredPortrait"]
