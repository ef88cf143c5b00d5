"""Convert between pixels and image coordinates of a square in a picture.

PIXELS: x right, y down, continuous; the outer corner of the first pixel is 0. IMAGE: the square's outer edges are -1 and 1,
as ``grid_sample(align_corners=False)`` takes them. Depth (z, toward the camera) scales with x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Position of the face in the renderers' crop: the longer side of the landmarks' box has this share of the crop's side, and the
# box's centre lies here (shares of the side from the left and the top).
FACE_SHARE = 0.54
FACE_CENTRE = (0.5, 0.56)
MIN_CROP = 32  # pixels
# A window stays in place while the face moves less than this (of half its side), and grows or shrinks less than this factor.
STILL_SHIFT, STILL_GROWTH = 0.14, 1.1


@dataclass(frozen=True)
class Square:
    """A square in a picture, in PIXELS; it may reach beyond the picture."""

    left: float
    top: float
    side: float

    @classmethod
    def around_picture(cls, height: int, width: int) -> Square:
        """Return the smallest square with the picture in its middle."""
        side = max(height, width)
        return cls((width - side) / 2, (height - side) / 2, side)

    @classmethod
    def around_face(cls, landmarks: np.ndarray) -> Square:
        """Return the crop for a face, on whole pixels, from its landmarks (478, 3) in PIXELS."""
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        side = max(MIN_CROP, round(float((high - low).max()) / FACE_SHARE))
        left, top = (low + high) / 2 - np.array(FACE_CENTRE) * side
        return cls(round(float(left)), round(float(top)), side)

    def following(self, own: np.ndarray, moved: np.ndarray) -> Square:
        """Return the square, on whole pixels, that shows a moved face as this one shows it at rest.

        It stays where it is while the face moves little (``STILL_SHIFT``), and goes along with what is beyond that.
        ``own`` and ``moved`` (478, 3) are landmarks in IMAGE coordinates of this square.
        """
        boxes = [(points[:, :2].min(0), points[:, :2].max(0)) for points in (own, moved)]
        (low, high), (new_low, new_high) = boxes
        growth = float((new_high - new_low).max() / (high - low).max())
        growth /= float(np.clip(growth, 1 / STILL_GROWTH, STILL_GROWTH))
        side = max(MIN_CROP, round(growth * self.side))
        middle = (new_low + new_high) / 2 - growth * (low + high) / 2
        middle -= np.clip(middle, -STILL_SHIFT, STILL_SHIFT)
        left, top = np.array([self.left, self.top]) + (middle + 1) * (self.side / 2) - side / 2
        return Square(round(float(left)), round(float(top)), side)

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the pixels (side, side, ...) of a picture (H, W, ...) in this square, which must lie on whole pixels.

        Beyond the picture its border pixels are repeated.
        """
        height, width = picture.shape[:2]
        offsets = np.arange(int(self.side))
        rows = np.clip(offsets + int(self.top), 0, height - 1)
        columns = np.clip(offsets + int(self.left), 0, width - 1)
        return picture[rows[:, None], columns]

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Convert PIXELS (..., 3) to IMAGE coordinates, float32."""
        scaled = (points - np.array([self.left, self.top, 0.0])) * (2.0 / self.side)
        return (scaled - np.array([1.0, 1.0, 0.0])).astype(np.float32)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Convert IMAGE coordinates (..., 3) to PIXELS, float32."""
        shifted = (points + np.array([1.0, 1.0, 0.0])) * (self.side / 2.0)
        return (shifted + np.array([self.left, self.top, 0.0])).astype(np.float32)
