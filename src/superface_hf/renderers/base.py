"""The ``Renderer`` protocol: an object that turns a portrait and landmarks into frames."""

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
        portrait: the portrait.
        plate: (H, W, 3) uint8, the whole picture without the person.
    """

    @property
    def portrait(self) -> Portrait: ...
    @property
    def plate(self) -> np.ndarray: ...

    def frames(
        self, landmarks: Tensor, behind: Sequence[np.ndarray] | None = None, transparent: bool = False
    ) -> list[np.ndarray]:
        """Render a batch in the renderer's own precision, without gradients.

        Args:
            landmarks: (B, 478, 3) in IMAGE coordinates of the portrait's crop.
            behind: the background of each frame, (H, W, 3) uint8; None is the plate.
            transparent: whether to leave out the background.

        Returns:
            Full pictures, (H, W, 3) uint8 each, transparent ones (H, W, 4).
        """
        ...


@runtime_checkable
class Renderer(Protocol):
    """Renders portraits. Every object with these members is one, and may be defined outside of this package.

    Attributes:
        image_size: side of the rendered square around the face, in pixels.
        side_by_side: how many batches are rendered at once, each with one thread of torch; 1 if one batch uses all cores.
        brings_portrait: whether it stores the one portrait that it can show.
    """

    @property
    def image_size(self) -> int: ...
    @property
    def side_by_side(self) -> int: ...
    @property
    def brings_portrait(self) -> bool: ...

    def own_portrait(self, image: Any, face_model: FaceModel) -> Portrait | None:
        """Return the portrait that the renderer stores, or None if it needs a picture.

        Raises:
            MediaError: it stores a portrait, and ``image`` is given too.
        """
        ...

    def prepare(self, portrait: Portrait, layers: Callable[[], PortraitLayers]) -> ReadyPortrait:
        """Compute everything that does not depend on the motion, once a portrait.

        Args:
            portrait: the portrait.
            layers: makes the portrait's layers; a renderer that stores them does not call it.
        """
        ...


@runtime_checkable
class CropRenderer(Protocol):
    """A renderer that can render each frame from a different source, which dubbing needs."""

    @property
    def image_size(self) -> int: ...

    def render_crops(self, sources: Tensor, mattes: Tensor, before: Tensor, after: Tensor) -> RenderedCrops:
        """Render one frame for each source: sources (B, 3, S, S) and mattes (B, 1, S, S) in [0, 1], landmarks (B, 478,
        3) before and after."""
        ...
