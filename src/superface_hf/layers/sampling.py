"""The person as a texture of colours and alpha that is sampled between its pixels.

Linear sampling is five times as fast as cubic (``benchmarks/compositing.py``), but it blurs. In a texture of twice the
resolution, made once a portrait, it hardly blurs, and at rest it gives the picture's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from .portrait import PortraitLayers

# Weights of the three pixels on each side of the middle between two pixels. Linear sampling of the texture weakens fine detail;
# these weights give the middles more of it (up to 1.2 times as much), so that over all places between two pixels detail of 0.35
# cycles a pixel keeps 0.94 of its power. Lanczos weights would leave 0.71.
HALFWAY = np.array([0.0672, -0.2261, 0.6589, 0.6589, -0.2261, 0.0672], np.float32)
HALFWAY = HALFWAY / HALFWAY.sum()
# Larger textures keep their resolution, and are sampled by a cubic.
MAX_DOUBLED = 50_000_000  # pixels


@dataclass(frozen=True, eq=False)
class Texture:
    """A texture of ``pixels`` (h, w, 4) uint8 RGBA, with ``fineness`` of them along each pixel of the picture.
    ``corner`` (x, y) is the position of the first one in the picture."""

    pixels: np.ndarray
    fineness: int
    corner: tuple[int, int]

    @classmethod
    def of(cls, layers: PortraitLayers, beyond: int) -> Texture:
        """Make the texture of the layers. Where the person touches the picture's border, it is mirrored beyond the border."""
        rows, columns = layers.box
        height, width = layers.picture.shape[:2]
        colours = layers.colours
        if layers.restored is not None:
            colours = cv2.add(colours, layers.restored, dtype=cv2.CV_8U)
        ends = (rows.start == 0, rows.stop == height, columns.start == 0, columns.stop == width)
        longest = (colours.shape[0], colours.shape[0], colours.shape[1], colours.shape[1])
        above, below, left, right = (
            min(beyond, most - 1) if end else 0 for end, most in zip(ends, longest, strict=True)
        )
        around = cv2.copyMakeBorder(colours, above, below, left, right, cv2.BORDER_REFLECT_101)
        alpha = cv2.copyMakeBorder(layers.alpha, above, below, left, right, cv2.BORDER_REPLICATE)
        fineness = 2 if 4 * alpha.size <= MAX_DOUBLED else 1
        if fineness == 2:
            around, alpha = _doubled(around, HALFWAY), _doubled(alpha, np.array([0.5, 0.5], np.float32))
        pixels = cv2.merge([*cv2.split(around), alpha])
        return cls(pixels, fineness, (columns.start - left, rows.start - above))

    def entered(self, places: np.ndarray) -> np.ndarray:
        """Convert places (h, w, 2) in PIXELS of the picture to those in the texture."""
        scale, (x, y) = float(self.fineness), self.corner
        if not places.size:  # OpenCV gives None
            return places
        return cv2.transform(places, np.array([[scale, 0, -scale * (x + 0.5)], [0, scale, -scale * (y + 0.5)]]))

    def places(self, there: np.ndarray) -> np.ndarray:
        """Convert places (..., 2) in the texture to PIXELS of the picture."""
        return there / np.float32(self.fineness) + np.array(self.corner, np.float32) + np.float32(0.5)

    def sample(self, there: np.ndarray) -> np.ndarray:
        """Return colours and alpha (h, w, 4) uint8 at places (h, w, 2) in the texture."""
        how = cv2.INTER_LINEAR if self.fineness > 1 else cv2.INTER_CUBIC
        return cv2.remap(  # type: ignore[call-overload]
            self.pixels, there, None, how, borderMode=cv2.BORDER_REPLICATE
        )


def _doubled(picture: np.ndarray, halfway: np.ndarray) -> np.ndarray:
    """Return a picture (h, w[, C]) at twice its size, whose even pixels are the picture's and whose others lie halfway
    between two."""
    for axis in (0, 1):
        kernel = halfway[:, None] if axis == 0 else halfway[None]
        anchor = (-1, len(halfway) // 2 - 1) if axis == 0 else (len(halfway) // 2 - 1, -1)
        between = cv2.filter2D(picture, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
        picture = np.stack([picture, between], axis=axis + 1).reshape(
            *picture.shape[:axis], 2 * picture.shape[axis], *picture.shape[axis + 1 :]
        )
    return picture


__all__ = ["Texture"]
