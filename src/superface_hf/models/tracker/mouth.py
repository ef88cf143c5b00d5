"""Refine the mouth: its crop from the picture, and the merge of the refined points into the mesh.

The whole-face regressor sees a mouth about 25 pixels wide, and loses a fifth of its opening. The refiner sees it about
40 pixels wide, with the folds beside it, the chin and the jaw line, cropped from the picture itself, and moves all of
them together.
"""

from __future__ import annotations

import math

import numpy as np

from .crops import CHIN, EYE_LEFT, EYE_RIGHT, FaceCrop, face_roll, ramp

# Side of the square around the mouth, in distances of the outer eye corners in space (so that a turned head keeps its
# scale): a chin that drops and the jaw line stay inside.
SIDE = 1.4
# The square's middle is the middle of these two, which the regressor sees well: under the nose, and the chin's lowest.
NOSE_BASE = 2
# The corners of the mouth; its depth is given from the middle of them as the regressor has it.
CORNERS = (61, 291)
# The refiner's result is ignored below the first number and used fully from the second on: for the distance of the eyes
# in pixels; for their distance in the picture over that in space (a face turned away); and for the movement of the lips
# as a whole, in those distances.
WIDTHS, TURNED, MOVED = (8.0, 16.0), (0.25, 0.5), (0.25, 0.12)

# Mesh points by the weight of the refiner: lips, the skin around them and the chin fully; less toward the nose, the
# cheeks and the jaw's angle, so that there is no step to the rest of the face.
_FOLLOW = {
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
}  # fmt: skip
MOUTH_POINTS = np.array([point for points in _FOLLOW.values() for point in points])
POINT_WEIGHTS = np.array([share for share, points in _FOLLOW.items() for _ in points], np.float32)
# The points with the weight 1 come first.
_FULL = int((POINT_WEIGHTS == 1).sum())


def mouth_crop(landmarks: np.ndarray) -> FaceCrop:
    """Return the square around the mouth, upright with the face.

    Args:
        landmarks: (478, 3), pixels.
    """
    x, y = (float(landmarks[NOSE_BASE, axis] + landmarks[CHIN, axis]) / 2 for axis in (0, 1))
    return FaceCrop(x, y, SIDE * eye_distance(landmarks), face_roll(landmarks))


def eye_distance(landmarks: np.ndarray) -> float:
    """Return the distance of the outer eye corners in space, in pixels."""
    return max(math.dist(landmarks[EYE_RIGHT].tolist(), landmarks[EYE_LEFT].tolist()), 1e-3)


def to_mouth(landmarks: np.ndarray, crop: FaceCrop) -> np.ndarray:
    """Return the mouth's points in the network's form: (P, 3) in units of the crop, depth from the middle of the corners.

    Args:
        landmarks: (478, 3), pixels.
    """
    points = crop.to_crop(landmarks[MOUTH_POINTS])
    points[:, 2] -= landmarks[list(CORNERS), 2].mean() * 2 / crop.size
    return points


def with_mouth(landmarks: np.ndarray, crop: FaceCrop, mouth: np.ndarray) -> np.ndarray:
    """Return the mesh with the refined mouth.

    Where the refiner is unreliable (few pixels, a face turned away, a result far from the mesh), the mesh stays; the
    transition is smooth, so that nothing jumps in a video.

    Args:
        landmarks: (478, 3) the regressor's, pixels.
        crop: see :func:`mouth_crop`.
        mouth: (P, 3) the network's output.
    """
    out = landmarks.copy()
    refined = crop.to_picture(mouth)
    refined[:, 2] += landmarks[list(CORNERS), 2].mean()
    change = refined - landmarks[MOUTH_POINTS]
    distance = crop.size / SIDE
    across = math.dist(landmarks[EYE_RIGHT, :2].tolist(), landmarks[EYE_LEFT, :2].tolist())
    moved = math.hypot(*change[:_FULL, :2].mean(axis=0).tolist()) / distance
    trust = ramp(across, *WIDTHS) * ramp(across / distance, *TURNED) * ramp(moved, *MOVED)
    out[MOUTH_POINTS] += trust * POINT_WEIGHTS[:, None] * change
    return out
