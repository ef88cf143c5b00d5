"""``Renderer``: anything that turns a portrait and landmarks into frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from ..animation.portrait import Portrait
from ..face_model.linear import FaceModel
from ..layers.paste_back import RenderedCrops
from ..layers.portrait import PortraitLayers


class ReadyPortrait(Protocol):
    """A portrait that a renderer has prepared.

    Attributes:
        portrait: which one.
        plate: (H, W, 3) uint8, the whole picture without the person.
    """

    @property
    def portrait(self) -> Portrait: ...
    @property
    def plate(self) -> np.ndarray: ...

    def frames(
        self, landmarks: Tensor, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """Renders a batch in the renderer's own precision, without gradients.

        Args:
            landmarks: (B, 478, 3) in IMAGE coordinates of the portrait's crop.
            behind: for each frame what stands behind the person, (H, W, 3) uint8; None is the plate.
            transparent: leave out what is behind.

        Returns:
            full pictures, (H, W, 3) uint8 each, transparent ones (H, W, 4).
        """
        ...


@runtime_checkable
class Renderer(Protocol):
    """Renders portraits. A model that has these members is one, and may live outside of this package.

    Attributes:
        image_size: side of the square around the face that it renders, in pixels.
        side_by_side: how many batches are rendered at once, each with one thread of torch. 1 where a batch keeps all cores
            busy.
        brings_portrait: whether it stores the one portrait that it can show.
    """

    @property
    def image_size(self) -> int: ...
    @property
    def side_by_side(self) -> int: ...
    @property
    def brings_portrait(self) -> bool: ...

    def own_portrait(self, image: Any, face_model: FaceModel) -> Portrait | None:
        """The portrait that it brings; None where it needs a picture.

        Raises:
            MediaError: it brings one, and ``image`` is another.
        """
        ...

    def prepare(self, portrait: Portrait, layers: Callable[[], PortraitLayers]) -> ReadyPortrait:
        """Makes what does not depend on the motion, once a portrait.

        Args:
            layers: takes the portrait apart; a renderer that stores its layers does not ask for it.
        """
        ...


@runtime_checkable
class CropRenderer(Protocol):
    """A renderer that can render each frame from a source of its own, as dubbing needs it."""

    @property
    def image_size(self) -> int: ...

    def render_crops(self, sources: Tensor, mattes: Tensor, before: Tensor, after: Tensor) -> RenderedCrops:
        """One frame per source: (B, 3, S, S) and (B, 1, S, S) in [0, 1], landmarks (B, 478, 3) twice."""
        ...
