"""Paste rendered crops back into the full picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model.coordinates import Square
from ..face_model.mesh_flow import identity_grid
from ..utils.easing import smoothstep
from .portrait import cut_out, region, resize, to_uint8
from .rendered import unpainted

# The rendered crop fades into the picture over this share of its side, outside of the head: the face fills the middle half of
# the crop.
FEATHER = 0.10


@dataclass(frozen=True, eq=False)
class RenderedCrops:
    """The output of a renderer for B crops.

    Attributes:
        frames: (B, 3, S, S) in [0, 1].
        warped: (B, 3, S, S) the source's own pixels, warped by the flow, before anything is painted.
        flow: (B, 2, S', S') the backward displacement in image units.
    """

    frames: Tensor
    warped: Tensor
    flow: Tensor


class PasteBack:
    """Pastes rendered crops back into one picture, at its own resolution.

    The rendered crop replaces the picture and fades out toward the crop's border, except where the crop ends at the picture's
    border. Pixels outside the crop stay exactly as they are. Detail that is too fine for the renderer (pores, hair) is
    warped by the renderer's flow and added again, except where the renderer painted something new.
    """

    def __init__(self, picture: np.ndarray, crop: Square, size: int) -> None:
        height, width = picture.shape[:2]
        left, top, side = int(crop.left), int(crop.top), int(crop.side)
        self._picture, self._side = picture, side
        x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
        self._target = (slice(y0, y1), slice(x0, x1))
        self._inside = (..., slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        columns = _fade(side, before=left > 0, after=left + side < width)
        rows = _fade(side, before=top > 0, after=top + side < height)
        mask = (rows[:, None] * columns)[self._inside]
        # A pixel is share * rendered + rest, truncated to an integer; the half makes it rounding.
        self._share = torch.from_numpy(255 * mask)
        kept = picture[self._target] * (1 - mask[..., None])
        self._rest = torch.from_numpy(np.ascontiguousarray(kept.transpose(2, 0, 1))) + 0.5
        here = region(picture, crop)
        # A crop no larger than the rendering has no finer detail.
        self._detail = here - resize(resize(here, size), side) if side > size else None
        self._grid = identity_grid(side, here)

    def __call__(self, crops: RenderedCrops) -> np.ndarray:
        """Return the picture with each crop pasted in, (B, H, W, 3) uint8."""
        pasted = np.repeat(self._picture[None], len(crops.frames), axis=0)
        for index, target in enumerate(pasted):
            one = slice(index, index + 1)
            sharp = self._full_size(crops.frames[one].float(), crops.warped[one].float(), crops.flow[one].float())
            pixels = torch.addcmul(self._rest, sharp[0][self._inside], self._share).clamp_(0, 255).byte()
            torch.from_numpy(target)[self._target].copy_(pixels.permute(1, 2, 0))
        return pasted

    def _full_size(self, frame: Tensor, warped: Tensor, flow: Tensor) -> Tensor:
        """Return a rendered crop at its size in the picture, (1, 3, side, side) on the CPU."""
        if self._detail is None:
            return resize(frame, self._side).cpu()
        self._detail, self._grid = self._detail.to(frame.device), self._grid.to(frame.device)
        grid = _enlarged(flow, self._side).permute(0, 2, 3, 1).add_(self._grid)
        carried = F.grid_sample(self._detail, grid, padding_mode="border", align_corners=False)
        return torch.addcmul(resize(frame, self._side), carried, _enlarged(unpainted(frame, warped), self._side)).cpu()


def _enlarged(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _fade(side: int, before: bool, after: bool) -> np.ndarray:
    """Return weights (side,) float32: 1 inside, smoothly 0 at the ends that border on more picture."""
    position = (np.arange(side, dtype=np.float32) + 0.5) / (FEATHER * side)
    fade = np.ones(side, np.float32)
    if before:
        fade *= smoothstep(position)
    if after:
        fade *= smoothstep(position[::-1])
    return fade


__all__ = ["PasteBack", "RenderedCrops", "cut_out", "resize", "to_uint8"]
