"""The student as a renderer: it stores its portrait and layers, and renders several frames at once on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ..animation.portrait import Portrait, stored_portrait
from ..errors import MediaError
from ..face_model.linear import FaceModel
from ..layers.compositing import Compositor
from ..layers.portrait import PortraitLayers
from .layered import LayeredPortrait, precision
from .memory import keep_freed_memory

if TYPE_CHECKING:
    from ..models.student.modeling_student import SuperFaceStudentModel


class StudentRenderer:
    """Renders with a student."""

    brings_portrait = True

    def __init__(self, model: SuperFaceStudentModel) -> None:
        self.model = model

    @property
    def image_size(self) -> int:
        return self.model.config.image_size

    @property
    def side_by_side(self) -> int:
        return torch.get_num_threads() if self.model.device.type == "cpu" else 1

    def own_portrait(self, image: Any, face_model: FaceModel) -> Portrait:
        """Return the portrait that is stored in the student.

        Raises:
            MediaError: ``image`` is another picture.
        """
        if image is not None:
            person = self.model.config.person or "one person"
            raise MediaError(f"This model is a student of {person} and brings the portrait: leave the picture out.")
        return stored_portrait(self.model, face_model)

    def prepare(self, portrait: Portrait, layers: Callable[[], PortraitLayers]) -> LayeredPortrait:
        """Prepare the stored portrait; the student stores its layers too."""
        keep_freed_memory(self.model)
        with torch.inference_mode(), precision(self.model.device, self.model.dtype):
            prepared = self.model.prepare()
            compositor = Compositor(self.model.layers(), portrait.crop, portrait.landmarks, prepared.prior)
        return LayeredPortrait(portrait, self.model, self.model.dtype, prepared, compositor)
