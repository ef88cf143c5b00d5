"""The student as a renderer: it stores its portrait and layers, and renders several frames at once on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait, stored_portrait
from ..errors import MediaError
from ..face_model.linear import FaceModel
from ..layers.portrait import PortraitLayers
from ..models.student.picture import MAPS, StudentPicture
from .layered import precision
from .memory import keep_freed_memory

if TYPE_CHECKING:
    from ..models.student.maps import StudentMaps
    from ..models.student.modeling_student import SuperFaceStudentModel


@dataclass(frozen=True, eq=False)
class StudentPortrait:
    """A student's portrait that is ready to be animated.

    Attributes:
        portrait: the portrait.
        maps: what gives the maps that frames are drawn from.
        picture: what draws them.
        dtype: the precision of the networks.
    """

    portrait: Portrait
    maps: StudentMaps
    picture: StudentPicture
    dtype: torch.dtype

    @property
    def plate(self) -> np.ndarray:
        """The whole picture without the person, (H, W, 3) uint8."""
        return self.picture.plate

    def frames(
        self, landmarks: Tensor, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """Render frames; see :meth:`~superface_hf.renderers.base.ReadyPortrait.frames`."""
        device = torch.device(self.maps.student.device)
        with torch.inference_mode(), precision(device, self.dtype):
            maps = [each.float().cpu().numpy() for each in self.maps(landmarks.to(device).float())]
        return [
            self.picture.frame(dict(zip(MAPS, frame, strict=True)), behind[index] if behind else None, transparent)
            for index, frame in enumerate(zip(*maps, strict=True))
        ]


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

    def prepare(self, portrait: Portrait, layers: Callable[[], PortraitLayers]) -> StudentPortrait:
        """Prepare the stored portrait; the student stores its layers too."""
        from ..models.student.maps import StudentMaps

        keep_freed_memory(self.model)
        own = self.model.layers()
        with torch.inference_mode(), precision(self.model.device, self.model.dtype):
            maps = StudentMaps(self.model, own)
        face = float(np.ptp(portrait.landmarks[:, 0])) * portrait.crop.side / 2
        return StudentPortrait(portrait, maps, StudentPicture(own, self.image_size, face), self.model.dtype)
