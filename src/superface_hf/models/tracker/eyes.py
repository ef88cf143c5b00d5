"""Refine the eyes: their crops from the picture, and the merge of the refined points into the mesh.

The whole-face regressor sees an eye about 17 pixels wide, and underestimates blinks and glances. The refiner sees it 32 pixels
wide, cropped from the picture itself. One network serves both eyes: the person's left eye is mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...face_model.seams import SEAMS
from ...face_model.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from .crops import FaceCrop, face_roll, ramp

# Side of the square around an eye, in widths of the eye (corner to corner in space, so that a turned head's eyes keep their
# scale), and how far its middle lies above that of the corners: lids and brow move above, the cheek less.
SIDE, LIFT = 2.0, 0.12
# Rows of that square that the network sees, as shares of its height.
TOP, BOTTOM = 1 / 8, 7 / 8
# Corners of the person's right and left eye: outer, inner.
CORNERS = ((33, 133), (263, 362))
# Pairs of upper and lower lid points, and the middle of the iris, by their place in ``EYE_POINTS``.
LIDS = tuple(zip((11, 12, 13, 14, 15), (5, 4, 3, 2, 1), strict=True))
OUTER, INNER, IRIS = 0, 8, 16
MIRROR = np.array([-1, 1, 1], np.float32)
# The refiner's result is ignored below the first number and used fully from the second on: for the eye's width in
# pixels; for its width in the picture over that in space (an eye that is turned away); and for the movement of the lids
# as a whole, in widths.
WIDTHS, TURNED, MOVED = (4.0, 8.0), (0.25, 0.5), (0.5, 0.25)
# The skin next to the lids follows the refiner alone. The ring around it and the lower line of the brow are the average of both
# networks, which is more accurate than either, and smooth toward the rest of the face.
FAR = 0.5
FAR_SKIN = (225, 224, 223, 222, 221, 228, 229, 230, 231, 232, 226, 31, 113, 233, 244, 189, 46, 53, 52, 65, 55)


def _points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, right = SEAMS[0], SEAMS[1]
    skin = {
        int(mine): int(other)
        for mine, other in zip(
            [*right.above, *right.below, 25, 226, 31, 113, 233, 244, 189],
            [*left.above, *left.below, 255, 446, 261, 342, 453, 464, 413],
            strict=True,
        )
    }
    # The irises' four outer points run the same way around in the picture, so mirroring swaps the two at the sides.
    mirrored = LEFT_IRIS[[0, 3, 2, 1, 4]]
    ours = np.concatenate([RIGHT_EYE, RIGHT_IRIS, list(skin)])
    theirs = np.concatenate([LEFT_EYE, mirrored, list(skin.values())])
    weights = np.where(np.isin(ours, FAR_SKIN), FAR, 1.0).astype(np.float32)
    return ours, theirs, weights


# The refiner's mesh points of the right eye and, in the same order, of the left one: the ring of the lids, the iris, the skin
# around; and the weight of each.
*EYE_POINTS, POINT_WEIGHTS = _points()


def eye_crops(landmarks: np.ndarray) -> tuple[FaceCrop, FaceCrop]:
    """Return the squares around the right and the left eye, upright with the face.

    Args:
        landmarks: (478, 3), pixels.
    """
    angle, width = face_roll(landmarks), eye_width(landmarks)
    lift_x, lift_y = LIFT * width * math.sin(angle), -LIFT * width * math.cos(angle)
    right, left = (
        FaceCrop(
            x=(float(landmarks[outer, 0]) + float(landmarks[inner, 0])) / 2 + lift_x,
            y=(float(landmarks[outer, 1]) + float(landmarks[inner, 1])) / 2 + lift_y,
            size=SIDE * width,
            angle=angle,
        )
        for outer, inner in CORNERS
    )
    return right, left


def eye_width(landmarks: np.ndarray) -> float:
    """Return the mean width of both eyes in space, from corner to corner, in pixels."""
    right, left = (math.dist(landmarks[outer].tolist(), landmarks[inner].tolist()) for outer, inner in CORNERS)
    return max((right + left) / 2, 1e-3)


def rows(size: int) -> slice:
    """Return the rows of a square of ``size`` pixels that the network sees."""
    return slice(round(size * TOP), round(size * BOTTOM))


def cut_eye(image: np.ndarray, crop: FaceCrop, left: bool, size: int) -> np.ndarray:
    """Return the network's picture of an eye, (3/4 size, size, 3) uint8."""
    picture = crop.cut(image, size)[rows(size)]
    return picture[:, ::-1] if left else picture


def to_eye(landmarks: np.ndarray, crop: FaceCrop, left: bool) -> np.ndarray:
    """Return an eye's points in the network's form: (P, 3) in units of the crop, mirrored for the left eye, depth from
    the middle of the corners.

    Args:
        landmarks: (478, 3), pixels.
    """
    points = crop.to_crop(landmarks[EYE_POINTS[left]])
    points[:, 2] -= points[[OUTER, INNER], 2].mean()
    if left:
        points[:, 0] *= -1
    return points


def with_eyes(landmarks: np.ndarray, crops: Sequence[FaceCrop], eyes: np.ndarray) -> np.ndarray:
    """Return a face's mesh with the refined eyes.

    Where the refiner is unreliable (few pixels, an eye turned away, a result far from the mesh), the mesh stays; the
    transition is smooth, so that nothing jumps in a video.

    Args:
        landmarks: (478, 3) the regressor's, pixels.
        crops: of the right and of the left eye.
        eyes: (2, P, 3) the network's output for each.
    """
    out = landmarks.copy()
    for left, (crop, points) in enumerate(zip(crops, eyes, strict=True)):
        index, width = EYE_POINTS[left], crop.size / SIDE
        seen = points * MIRROR if left else points
        outer, inner = landmarks[list(CORNERS[left])].tolist()
        refined = crop.to_picture(seen)
        refined[:, 2] += (outer[2] + inner[2]) / 2
        change = refined - landmarks[index]
        across = math.dist(outer[:2], inner[:2])
        moved = math.hypot(*change[:16, :2].mean(axis=0).tolist()) / width
        trust = ramp(across, *WIDTHS) * ramp(across / width, *TURNED) * ramp(moved, *MOVED)
        out[index] += trust * POINT_WEIGHTS[:, None] * change
    return out
