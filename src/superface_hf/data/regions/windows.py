"""Windows on mouths and eyes that :mod:`.gather` made, and batches of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import SuperFaceError
from ...models.painters.painter import RegionPainter
from ...models.painters.windows import EYES, MOUTH, Region


@dataclass(frozen=True, eq=False)
class Painted:
    """What one painter of the teacher paints.

    Attributes:
        attribute: its name in the model.
        regions: its regions; the second one of two is mirrored.
    """

    attribute: str
    regions: tuple[Region, ...]

    def painter(self, teacher: Any) -> RegionPainter:
        return getattr(teacher, self.attribute)


PAINTED = {"mouth": Painted("mouth_painter", (MOUTH,)), "eyes": Painted("eye_painter", EYES)}
PAINTER_INPUTS = ("shown", "own", "drawn", "shapes")


@dataclass(frozen=True, eq=False)
class RegionBatch:
    """Windows on mouths or eyes, (B, C, h, w) float32, colours in [0, 1].

    Attributes:
        shown, own, drawn, shapes: the painter's inputs.
        before: what the teacher's own painter made of them.
        target: the true windows.
        asked: (B, 1, h, w) in [0, 1], 1 on the mouth or eye.
    """

    shown: Tensor
    own: Tensor
    drawn: Tensor
    shapes: Tensor
    before: Tensor
    target: Tensor
    asked: Tensor

    def painted_by(self, painter: Callable[..., Tensor]) -> Tensor:
        """Return the windows (B, 3, h, w) as a painter leaves them."""
        return self.shown + painter(self.shown, self.own, self.drawn, self.shapes)

    def tinted(self, most: float) -> RegionBatch:
        """Return the batch in random light: each channel keeps between 1 - ``most`` and all of its strength."""
        light = 1 - most * torch.rand(len(self.shown), 3, 1, 1, device=self.shown.device)
        colours = ("shown", "own", "before", "target")
        return replace(self, **{name: getattr(self, name) * light for name in colours})

    def mirrored(self, chosen: Tensor) -> RegionBatch:
        """Return a batch of mouths with ``chosen`` (B,) of them mirrored, so that each clip shows both halves twice."""
        flipped = {name: getattr(self, name).flip(-1) for name in NAMES if name != "shapes"}
        # The first colour of a drawn mesh says how far left or right a point lies.
        flipped["drawn"][:, 0] *= -1
        # The ring of the lips begins at one corner, and has the other in its middle.
        ring = (self.shapes.shape[2] // 2 - torch.arange(self.shapes.shape[2])) % self.shapes.shape[2]
        flipped["shapes"] = self.shapes[:, :, ring] * self.shapes.new_tensor([-1.0, 1.0, 1.0])
        every = chosen[:, None, None, None]
        return RegionBatch(
            **{name: torch.where(every, values, getattr(self, name)) for name, values in flipped.items()}
        )


NAMES = tuple(field.name for field in fields(RegionBatch))


class RegionWindows:
    """All windows of a folder, on one device; a clip counts less, the more there are of its repository."""

    def __init__(self, arrays: dict[str, Tensor], weights: Tensor, mirrored: bool) -> None:
        self._arrays, self._weights, self._mirrored = arrays, weights, mirrored

    @classmethod
    def read(cls, folder: Path, mirrored: bool, device: str | torch.device) -> RegionWindows:
        """Read the windows of a folder.

        Args:
            mirrored: whether half of the windows that are drawn are mirrored: mouths may be, eyes are already.

        Raises:
            SuperFaceError: it holds none.
        """
        paths = sorted(folder.glob("*.npz"))
        if not paths:
            raise SuperFaceError(f"{folder} holds no windows: make them with superface_hf.data.regions.gather.")
        clips = [dict(np.load(path)) for path in paths]
        repositories = [str(clip["repository"]) for clip in clips]
        count = Counter(repositories)
        weights = [
            torch.full((len(clip["target"]),), (count[name] ** -0.5) / len(clip["target"]))
            for name, clip in zip(repositories, clips, strict=True)
        ]
        arrays = {name: torch.from_numpy(np.concatenate([clip[name] for clip in clips])).to(device) for name in NAMES}
        return cls(arrays, torch.cat(weights).to(device), mirrored)

    def __len__(self) -> int:
        return len(self._weights)

    def draw(self, count: int) -> RegionBatch:
        """Return random windows."""
        batch = self._batch(torch.multinomial(self._weights, count, replacement=True))
        if not self._mirrored:
            return batch
        return batch.mirrored(torch.rand(count, device=self._weights.device) < 0.5)

    def batches(self, size: int) -> Iterator[RegionBatch]:
        """Yield all windows in order."""
        for chosen in torch.arange(len(self), device=self._weights.device).split(size):
            yield self._batch(chosen)

    def _batch(self, chosen: Tensor) -> RegionBatch:
        rows = {name: values[chosen] for name, values in self._arrays.items()}
        return RegionBatch(
            **{name: row.float() / 255 if row.dtype == torch.uint8 else row.float() for name, row in rows.items()}
        )
