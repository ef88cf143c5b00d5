"""A portrait in layers: the person's own colours, how much of each pixel is theirs, and the picture behind them.

Torch is imported where tensors are made: code that only draws with layers does without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..face_model.coordinates import Square
from ..utils.easing import smoothstep

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from ..models.matte.modeling_matte import SuperFaceMatteModel

# A renderer's restoration fades out toward the crop's border over this share of the crop's side.
RESTORED_FADE = 0.12
# Smaller changes (of 255) count as no restoration.
RESTORED = 0.6

Box = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class PortraitLayers:
    """The layers of a portrait, made once, at the picture's own resolution.

    Attributes:
        picture: (H, W, 3) uint8.
        box: rows and columns of the picture that contain the person and the plate's changes; the other arrays have its size.
        colours: (h, w, 3) uint8, the person's own, without the background that shines through at the outline.
        alpha: (h, w) uint8, 255 where only the person is visible.
        plate: (h, w, 3) uint8, the picture without the person.
        restored: (h, w, 3) int16, the changes of ``colours`` by a renderer's restoration, or None.
    """

    picture: np.ndarray
    box: Box
    colours: np.ndarray
    alpha: np.ndarray
    plate: np.ndarray
    restored: np.ndarray | None = None

    @classmethod
    def of(cls, picture: np.ndarray, alpha: np.ndarray, colours: np.ndarray, plate: np.ndarray) -> PortraitLayers:
        """Make the layers from those of the whole picture: alpha (H, W) float32, colours and plate (H, W, 3) uint8."""
        whole = cv2.convertScaleAbs(alpha, alpha=255)
        box = _box((whole > 0) | (plate != picture).any(2))
        parts = (np.ascontiguousarray(layer[box]) for layer in (colours, whole, plate))
        return cls(picture, box, *parts)

    @classmethod
    def make(
        cls,
        picture: np.ndarray,
        landmarks: np.ndarray,
        matte: SuperFaceMatteModel,
        inpainter: SuperFaceInpainterModel,
        others: tuple[np.ndarray, ...] = (),
    ) -> PortraitLayers:
        """Split a picture (H, W, 3) uint8 into layers; ``landmarks`` are the person's, ``others`` other people's, (478,
        3) in PIXELS."""
        from .matting import cut_out_person, foreground_colours
        from .plate import make_plate

        alpha = cut_out_person(picture, landmarks, matte, others)
        return cls.of(picture, alpha, foreground_colours(picture, alpha), make_plate(picture, alpha, inpainter))

    def source(self, crop: Square, size: int) -> tuple[Tensor, Tensor]:
        """Return the renderer's view of the person: the crop in their own colours (1, 3, size, size) and the matte (1,
        1, size, size), both in [0, 1]."""
        picture, alpha = self.picture.copy(), np.zeros(self.picture.shape[:2], np.uint8)
        picture[self.box] = np.where(self.alpha[..., None] > 0, self.colours, self.picture[self.box])
        alpha[self.box] = self.alpha
        return cut_out(picture, crop, size), cut_out(alpha[..., None], crop, size)

    def with_restored(self, crop: Square, source: Tensor, restored: Tensor) -> PortraitLayers:
        """Add the result of a renderer's restoration: its source and the restored source, (1, 3, S, S) each in [0, 1].

        Detail that is too fine for the renderer stays.
        """
        import torch

        added = (restored.float() - source.float()).mul(255).cpu()
        if float(added.abs().amax()) < RESTORED:
            return self
        inside = torch.from_numpy(_fade(added.shape[-1]))
        coarse = (added[0] * inside * inside[:, None]).permute(1, 2, 0).numpy()
        side, rows, columns = int(crop.side), self.box[0], self.box[1]
        scale = len(coarse) / side
        # From the box's pixels to the crop's cells.
        across = scale * (columns.start + 0.5 - crop.left) - 0.5
        down = scale * (rows.start + 0.5 - crop.top) - 0.5
        there = np.array([[scale, 0, across], [0, scale, down]], np.float64)
        if scale > 1:  # the picture is coarser than the restored crop
            blur = cv2.blur(coarse, (round(scale), round(scale)))
            coarse = np.asarray(blur, np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(coarse, there, self.colours.shape[1::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT)
        return replace(self, restored=np.rint(fine).astype(np.int16))


def cut_out(picture: np.ndarray, crop: Square, size: int) -> Tensor:
    """Return the crop of a picture (H, W, C) uint8 as (1, C, size, size) float in [0, 1]; beyond the picture its edge
    is repeated."""
    return resize(region(picture, crop), size)


def resize(pictures: Tensor, size: int) -> Tensor:
    """Resize pictures (B, C, S, S) in [0, 1] to (B, C, size, size), bicubic and antialiased; pictures of that size are
    returned as they are."""
    if pictures.shape[-1] == size:
        return pictures
    from torch.nn import functional as F

    resized = F.interpolate(pictures, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def region(picture: np.ndarray, crop: Square) -> Tensor:
    """Return the crop (1, C, side, side) in [0, 1], at the picture's own resolution."""
    import torch

    return torch.from_numpy(crop.cut(picture)).permute(2, 0, 1)[None].float() / 255


def to_uint8(frames: Tensor) -> np.ndarray:
    """Convert pictures (B, 3, S, S) in [0, 1] to (B, S, S, 3) uint8."""
    whole = frames.float().mul(255).add_(0.5).clamp_(0, 255).byte()
    return whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _box(mask: np.ndarray) -> Box:
    """Return the rows and columns of a mask, and one more at each side; the person continues only beyond the picture's
    border."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    spans = [
        slice(max(0, int(places[0]) - 1), min(length, int(places[-1]) + 2))
        for places, length in zip((rows, columns), mask.shape, strict=True)
    ]
    return spans[0], spans[1]


def _fade(size: int) -> np.ndarray:
    """Return the weights (size,) float32: 1 inside, smoothly 0 at both ends."""
    place = np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / (RESTORED_FADE * size)
    return smoothstep(place).astype(np.float32)


__all__ = ["Box", "PortraitLayers", "cut_out", "region", "resize", "to_uint8"]
