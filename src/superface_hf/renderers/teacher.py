"""The teacher as a renderer: it needs a picture and its layers, and can dub."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..animation.portrait import Portrait
from ..face_model.linear import FaceModel
from ..layers.compositing import Compositor
from ..layers.paste_back import RenderedCrops
from ..layers.portrait import PortraitLayers
from .layered import KeyFramePortrait, LayeredPortrait, precision


@cache
def computes_in_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16. Without them it is many times slower than float32."""
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class TeacherRenderer:
    """Renders with a teacher, or with :class:`~superface_hf.layers.untrained.UntrainedLayers`, which are used alike.

    Args:
        model: has ``config.image_size``, ``device``, ``prepare`` and ``render``; a teacher is also called with sources.
        dtype: the precision to render in; None is that of the model's weights. Where a model was loaded without a dtype, a
            CPU that computes in bfloat16 does so, in two thirds of the time: pixels change by less than their rounding.
        consecutive: whether the frames of a batch follow each other in time. On a CPU a teacher's networks then run for
            key frames only (:mod:`superface_hf.models.teacher.key_frames`), which takes half the time; a GPU is
            quicker with whole batches.
    """

    brings_portrait = False

    def __init__(self, model: Any, dtype: torch.dtype | None = None, consecutive: bool = False) -> None:
        self.model = model
        self._dtype = dtype
        self._consecutive = consecutive

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    @property
    def side_by_side(self) -> int:
        return torch.get_num_threads() if self._consecutive and torch.device(self.model.device).type == "cpu" else 1

    @property
    def dtype(self) -> torch.dtype:
        if self._dtype is not None:
            return self._dtype
        free = getattr(self.model, "dtype_is_free", False) and torch.device(self.model.device).type == "cpu"
        return torch.bfloat16 if free and computes_in_bfloat16() else getattr(self.model, "dtype", torch.float32)

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
