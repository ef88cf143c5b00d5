"""The teacher as a renderer: it needs a picture and its layers, and can dub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..face_model.linear import FaceModel
from ..layers.compositing import Compositor
from ..layers.paste_back import RenderedCrops
from ..layers.portrait import PortraitLayers
from .layered import KeyFramePortrait, LayeredPortrait, precision


class TeacherRenderer:
    """Renders with a teacher, or with :class:`~superface_hf.layers.untrained.UntrainedLayers`, which are used alike.

    Args:
        model: has ``config.image_size``, ``device``, ``prepare`` and ``render``; a teacher is also called with sources.
        dtype: the precision to render in; None is the precision of the model's weights.
        consecutive: whether the frames of a batch follow each other in time. On a CPU a teacher's networks then run for
            key frames only (:mod:`superface_hf.models.teacher.key_frames`), which takes half the time; a GPU is
            quicker with whole batches.
    """

    brings_portrait = False
    side_by_side = 1  # a frame is large enough to keep all cores busy

    def __init__(self, model: Any, dtype: torch.dtype | None = None, consecutive: bool = False) -> None:
        self.model = model
        self._dtype = dtype
        self._consecutive = consecutive

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    @property
    def dtype(self) -> torch.dtype:
        return getattr(self.model, "dtype", torch.float32) if self._dtype is None else self._dtype

    def own_portrait(self, image: Any, face_model: FaceModel) -> None:
        """Return None: the teacher needs a picture."""
        return None

    def prepare(self, portrait: Portrait, layers: Callable[[], PortraitLayers]) -> LayeredPortrait:
        """Prepare the portrait; what the teacher restores in a poor picture is added to the layers."""
        apart, device = layers(), torch.device(self.model.device)
        with torch.inference_mode():
            source, matte = apart.source(portrait.crop, self.image_size)
            landmarks = torch.from_numpy(portrait.landmarks)[None]
            with precision(device, self.dtype):
                prepared = self.model.prepare(*(each.to(device) for each in (source, matte, landmarks)))
            apart = apart.with_restored(portrait.crop, source, prepared.image.cpu())
            compositor = Compositor(apart, portrait.crop, portrait.landmarks)
        kind = KeyFramePortrait if self._consecutive and device.type == "cpu" else LayeredPortrait
        return kind(portrait, self.model, self.dtype, prepared, compositor)

    def render_crops(self, sources: Tensor, mattes: Tensor, before: Tensor, after: Tensor) -> RenderedCrops:
        """Render crops, see :meth:`~superface_hf.renderers.base.CropRenderer.render_crops`. The background stays."""
        device = torch.device(self.model.device)
        sources, mattes, before, after = (each.to(device) for each in (sources, mattes, before, after))
        with torch.inference_mode(), precision(device, self.dtype):
            output = self.model(sources, mattes, before, after)
            return RenderedCrops(output.over(sources), output.warped, output.rendered.flow)
