"""The square, upright crop in which landmarks are regressed, and conversions between it and the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ...utils.easing import smoothstep

# Mesh points of the face's own axes: outer eye corners (person's right, left), forehead top, chin.
EYE_RIGHT, EYE_LEFT, FOREHEAD, CHIN = 33, 263, 10, 152


@dataclass(frozen=True)
class FaceCrop:
    """A rotated square of a picture.

    Attributes:
        x, y: centre, pixels of the picture.
        size: side, pixels.
        angle: roll of the face in radians; positive turns the crop's x axis toward the picture's y axis (clockwise).
    """

    x: float
    y: float
    size: float
    angle: float

    @classmethod
    def around(cls, landmarks: np.ndarray, margin: float) -> FaceCrop:
        """Return the crop whose side is ``margin`` times the face's longer side, upright with the face.

        Args:
            landmarks: (478, 3) or (478, 2), pixels.
        """
        points = np.asarray(landmarks, np.float64)[:, :2]
        angle = face_roll(points)
        cos, sin = math.cos(angle), math.sin(angle)
        upright = points @ np.array([[cos, -sin], [sin, cos]])
        low, high = upright.min(axis=0), upright.max(axis=0)
        centre = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
        return cls(float(centre[0]), float(centre[1]), float(max((high - low).max(), 1e-3)) * margin, angle)

    def turned_back(self, quarters: int, side: float) -> FaceCrop:
        """Return this crop of a square picture (of ``side``), which ``np.rot90`` rotated ``quarters`` times, in the
        original picture."""
        crop = self
        for _ in range(quarters):
            crop = replace(crop, x=side - crop.y, y=crop.x, angle=crop.angle + math.pi / 2)
        return crop

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Convert points (..., 2 or 3) in crop units ([-1, 1] are the crop's edges) to pixels of the picture, float32."""
        half = self.size / 2
        cos, sin = math.cos(self.angle) * half, math.sin(self.angle) * half
        out = np.array(points, np.float32)
        out[..., 0] = self.x + cos * points[..., 0] - sin * points[..., 1]
        out[..., 1] = self.y + sin * points[..., 0] + cos * points[..., 1]
        out[..., 2:] *= half
        return out

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Convert points (..., 2 or 3) in pixels of the picture to crop units, float32."""
        half = self.size / 2
        cos, sin = math.cos(self.angle) / half, math.sin(self.angle) / half
        out = np.array(points, np.float32)
        x, y = points[..., 0] - self.x, points[..., 1] - self.y
        out[..., 0] = cos * x + sin * y
        out[..., 1] = cos * y - sin * x
        out[..., 2:] /= half
        return out

    def differs(self, other: FaceCrop, tolerance: float) -> bool:
        """Return whether the other crop differs by more than ``tolerance`` of the side in position, size or rotation."""
        place = math.hypot(other.x - self.x, other.y - self.y) / self.size
        turn = abs(math.remainder(other.angle - self.angle, math.tau))
        return max(place, abs(math.log(other.size / self.size)), turn) > tolerance

    def cut(self, image: np.ndarray, size: int) -> np.ndarray:
        """Return the crop as a (size, size, 3) uint8 picture; outside the picture its border is repeated.

        Args:
            image: (H, W, 3) uint8.
        """
        height, width = image.shape[:2]
        # Reduction follows from the crop's size alone and starts on a fixed grid, so that a crop that stays samples the same
        # pixels in every frame. Huge crops are subsampled first, so that they cost no more than large ones.
        factor = max(1, int(self.size / size))
        stride = max(1, factor // 8)
        reach = self.size * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / 2 + 2 * factor
        left, right = (_clip(math.floor((self.x + side * reach) / factor) * factor, width) for side in (-1, 1))
        top, bottom = (_clip(math.floor((self.y + side * reach) / factor) * factor, height) for side in (-1, 1))
        part = Image.fromarray(np.ascontiguousarray(image[top : bottom + 1 : stride, left : right + 1 : stride]))
        if factor > stride:
            part = part.reduce(factor // stride)
        step = stride * (factor // stride)
        # PIL leaves pixels outside black: repeating the border hides the picture's edge from the network.
        beyond = max(left - self.x + reach, top - self.y + reach, self.x + reach - right, self.y + reach - bottom)
        pad = min(math.ceil(max(0.0, beyond) / step), 4 * size)
        if pad:
            part = Image.fromarray(np.pad(np.asarray(part), ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
        pixel = self.size / size / step
        cos, sin = math.cos(self.angle) * pixel, math.sin(self.angle) * pixel
        x0 = (self.x - left) / step + pad - (cos - sin) * size / 2
        y0 = (self.y - top) / step + pad - (sin + cos) * size / 2
        matrix = (cos, -sin, x0, sin, cos, y0)
        return np.asarray(part.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))


def _clip(position: int, length: int) -> int:
    return min(max(position, 0), length - 1)


def face_roll(points: np.ndarray) -> float:
    """Return the roll in radians of points (478, 2+) in pixels: 0 upright, positive clockwise as seen in the picture."""
    eyes = points[EYE_LEFT, :2] - points[EYE_RIGHT, :2]
    down = points[CHIN, :2] - points[FOREHEAD, :2]
    # The eye line shortens as the head turns aside, the vertical one as it nods; their sum is stable in both.
    x, y = eyes[0] + down[1], eyes[1] - down[0]
    return math.atan2(float(y), float(x))


def ramp(value: float, none: float, full: float) -> float:
    """Return the smoothstep of a number from ``none`` (0) to ``full`` (1)."""
    return float(smoothstep(np.asarray(value), none, full))
