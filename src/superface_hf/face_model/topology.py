"""Point indices of the 478-point mesh. "Left" is the person's left, as in ARKit's ``eyeBlinkLeft``.

Points 0..467 are the face, 468..477 the irises (centre first). Rings run once around, so they can be drawn as polygons.
"""

from __future__ import annotations

import numpy as np

POINTS = 478

LIPS_OUTER = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185])
LIPS_INNER = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191])
LEFT_EYE = np.array([263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466])
RIGHT_EYE = np.array([33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246])
LEFT_BROW = np.array([276, 283, 282, 295, 285, 336, 296, 334, 293, 300])
RIGHT_BROW = np.array([46, 53, 52, 65, 55, 107, 66, 105, 63, 70])
RIGHT_IRIS = np.arange(468, 473)
LEFT_IRIS = np.arange(473, 478)
FACE_OVAL = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
    + [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)
LIPS = np.unique(np.concatenate([LIPS_OUTER, LIPS_INNER]))
EYE_CORNERS = np.array([33, 133, 362, 263])

# Points that expression barely moves: the nose bridge, the eye corners, the temples and the sides of the head above the
# jaw. They carry the head's pose.
STABLE = np.array(
    [6, 168, 197, 195, 5, 4, 122, 351, 196, 419, 3, 248, 174, 399, 236, 456, 198, 420, 193, 417, 188, 412]
    + [33, 133, 362, 263, 130, 359, 243, 463, 226, 446, 35, 265, 143, 372, 34, 264, 227, 447, 127, 356, 162, 389]
    + [234, 454, 116, 345, 137, 366, 93, 323, 21, 251, 139, 368, 156, 383]
)

# Upper and lower middle of each lid, and of the inner lips: the gaps that a blink and a closed mouth bring to zero.
LEFT_LIDS = ((384, 381), (385, 380), (386, 374), (387, 373), (388, 390))
RIGHT_LIDS = ((157, 154), (158, 153), (159, 145), (160, 144), (161, 163))
INNER_LIPS = ((82, 87), (13, 14), (312, 317))


def inter_ocular(landmarks: np.ndarray) -> np.ndarray:
    """Return the distance between the outer eye corners, the unit in which landmark errors are given.

    Args:
        landmarks: (..., 478, 2 or 3).
    """
    return np.linalg.norm(landmarks[..., 263, :] - landmarks[..., 33, :], axis=-1)


def mouth_box(landmarks: np.ndarray, margin: float = 0.35) -> np.ndarray:
    """Return the box around the lips, (..., 4) as x0, y0, x1, y1 in the unit of ``landmarks`` (..., 478, 2 or 3).

    ``margin`` widens it on each side by that share of its longer side.
    """
    return _box(landmarks[..., LIPS_OUTER, :2], margin)


def eye_boxes(landmarks: np.ndarray, margin: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes around the person's left and right eye, each (..., 4) as in :func:`mouth_box`."""
    return _box(landmarks[..., LEFT_EYE, :2], margin), _box(landmarks[..., RIGHT_EYE, :2], margin)


def _box(points: np.ndarray, margin: float) -> np.ndarray:
    low, high = points.min(-2), points.max(-2)
    pad = margin * (high - low).max(-1, keepdims=True)
    return np.concatenate([low - pad, high + pad], -1)


def lid_gap(points: np.ndarray, lids: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Return how far an eye is open (T,): the mean vertical distance of its lids, in the unit of ``points`` (T, 478, 2
    or 3)."""
    upper, lower = np.array(lids).T
    return (points[:, lower, 1] - points[:, upper, 1]).mean(1)
