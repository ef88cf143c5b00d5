"""Regions of the face that refiners see in crops of their own: where a crop lies, and how the refined points go into the mesh.

The whole-face regressor sees a mouth about 25 pixels wide, and loses a fifth of its opening; of the brows' movement it loses a
quarter. Their refiners see about twice as many pixels of the picture itself, with what moves along (folds and chin; the
forehead).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .crops import CHIN, EYE_LEFT, EYE_RIGHT, FaceCrop, face_roll, ramp

# A refiner's result is ignored below the first number and used fully from the second on: for the distance of the eyes in
# pixels, and for their distance in the picture over that in space (a face turned away).
WIDTHS, TURNED = (8.0, 16.0), (0.25, 0.5)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the face, and what its refiner changes.

    Attributes:
        follow: weight of the refiner -> the mesh points that follow it so far, the weight 1 first. Where the region meets the
            rest of the face they follow less, so that there is no step.
        between: two mesh points; the crop's middle is the middle of both.
        lift: how far the crop's middle lies above theirs, in distances of the outer eye corners in space.
        side: of the crop's square, in those distances: a turned head keeps its scale.
        seen: first and last row of that square that the refiner sees, as shares of its height.
        corners: two mesh points; depth is given from the middle of both.
        moved: the result is ignored where the region moved as a whole by more than the first number, in those distances, and
            used fully below the second.
    """

    follow: Mapping[float, tuple[int, ...]]
    between: tuple[int, int]
    lift: float
    side: float
    seen: tuple[float, float]
    corners: tuple[int, int]
    moved: tuple[float, float]

    @cached_property
    def points(self) -> np.ndarray:
        """The mesh points (P,) of the refiner."""
        return np.array([point for points in self.follow.values() for point in points])

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight (P,) of each point."""
        return np.array([share for share, points in self.follow.items() for _ in points], np.float32)

    def crop(self, landmarks: np.ndarray) -> FaceCrop:
        """Return the square around the region, upright with the face.

        Args:
            landmarks: (478, 3), pixels.
        """
        first, second = self.between
        x, y = (float(landmarks[first, axis] + landmarks[second, axis]) / 2 for axis in (0, 1))
        angle, distance = face_roll(landmarks), eye_distance(landmarks)
        lift = self.lift * distance
        return FaceCrop(x + lift * math.sin(angle), y - lift * math.cos(angle), self.side * distance, angle)

    def size(self, side: int) -> tuple[int, int]:
        """Return the height and width in pixels of what the refiner sees of a square of ``side`` pixels."""
        rows = self.rows(side)
        return rows.stop - rows.start, side

    def cut(self, picture: np.ndarray, crop: FaceCrop, side: int) -> np.ndarray:
        """Return what the refiner sees, (height, side, 3) uint8, of a picture (H, W, 3) uint8."""
        return crop.cut(picture, side)[self.rows(side)]

    def rows(self, side: int) -> slice:
        """Return the rows of a square of ``side`` pixels that the refiner sees."""
        first, last = self.seen
        return slice(round(first * side), round(last * side))

    def to_crop(self, landmarks: np.ndarray, crop: FaceCrop) -> np.ndarray:
        """Return the region's points in the network's form: (P, 3) in units of the crop, depth from the middle of the corners.

        Args:
            landmarks: (478, 3), pixels.
        """
        points = crop.to_crop(landmarks[self.points])
        points[:, 2] -= landmarks[list(self.corners), 2].mean() * 2 / crop.size
        return points

    def merged(self, landmarks: np.ndarray, crop: FaceCrop, refined: np.ndarray) -> np.ndarray:
        """Return the mesh with the refined points.

        Where the refiner is unreliable (few pixels, a face turned away, a result far from the mesh), the mesh stays; the
        transition is smooth, so that nothing jumps in a video.

        Args:
            landmarks: (478, 3), pixels.
            crop: see :meth:`crop`.
            refined: (P, 3) the network's output.
        """
        out, points = landmarks.copy(), self.points
        seen = crop.to_picture(refined)
        seen[:, 2] += landmarks[list(self.corners), 2].mean()
        change = seen - landmarks[points]
        distance = crop.size / self.side
        across = math.dist(landmarks[EYE_RIGHT, :2].tolist(), landmarks[EYE_LEFT, :2].tolist())
        whole = math.hypot(*change[: len(self.follow[1.0]), :2].mean(axis=0).tolist()) / distance
        trust = ramp(across, *WIDTHS) * ramp(across / distance, *TURNED) * ramp(whole, *self.moved)
        out[points] += trust * self.weights[:, None] * change
        return out


def eye_distance(landmarks: np.ndarray) -> float:
    """Return the distance of the outer eye corners in space, in pixels."""
    return max(math.dist(landmarks[EYE_RIGHT].tolist(), landmarks[EYE_LEFT].tolist()), 1e-3)


# The mouth with the folds beside it, the chin and the jaw line: a chin that drops stays inside. The crop lies between two
# points that the regressor sees well: under the nose, and the lowest of the chin.
MOUTH = Region(
    follow={
        1.0: (
            0, 11, 12, 13, 14, 15, 16, 17, 18, 32, 37, 38, 39, 40, 41, 42, 43, 57, 61, 62, 72, 73, 74, 76, 77, 78, 80, 81, 82,
            83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 95, 96, 106, 140, 146, 148, 149, 150, 152, 164, 165, 167, 169, 170, 171,
            175, 176, 178, 179, 180, 181, 182, 183, 184, 185, 186, 191, 194, 199, 200, 201, 202, 204, 206, 207, 208, 210, 211,
            212, 214, 216, 262, 267, 268, 269, 270, 271, 272, 273, 287, 291, 292, 302, 303, 304, 306, 307, 308, 310, 311, 312,
            313, 314, 315, 316, 317, 318, 319, 320, 321, 322, 324, 325, 335, 369, 375, 377, 378, 379, 391, 393, 394, 395, 396,
            400, 402, 403, 404, 405, 406, 407, 408, 409, 410, 415, 418, 421, 422, 424, 426, 427, 428, 430, 431, 432, 434, 436,
        ),
        0.75: (135, 136, 364, 365),
        0.5: (2, 97, 98, 99, 187, 192, 326, 327, 328, 411, 416),
        0.25: (20, 60, 75, 94, 138, 141, 172, 203, 205, 240, 242, 250, 290, 305, 367, 370, 397, 423, 425, 460, 462),
    },
    between=(2, CHIN),
    lift=0.0,
    side=1.4,
    seen=(0.0, 1.0),
    corners=(61, 291),
    moved=(0.25, 0.12),
)  # fmt: skip
# Both brows and the forehead, down to the eyes. The eyes' corners are seen, for brows are high or low against them, and stay
# where they are.
BROWS = Region(
    follow={
        1.0: (46, 53, 52, 65, 55, 107, 66, 105, 63, 70, 276, 283, 282, 295, 285, 336, 296, 334, 293, 300, 8, 9),
        0.75: (68, 104, 69, 108, 151, 337, 299, 333, 298),
        0.5: (71, 301, 168, 193, 417, 221, 222, 223, 224, 225, 441, 442, 443, 444, 445),
        0.25: (10, 54, 67, 103, 109, 156, 284, 297, 332, 338, 383),
        0.0: (33, 133, 263, 362),
    },
    between=(EYE_RIGHT, EYE_LEFT),
    lift=0.27,
    side=1.7,
    seen=(0.25, 0.75),
    corners=(EYE_RIGHT, EYE_LEFT),
    moved=(0.3, 0.15),
)
