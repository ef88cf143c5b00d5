"""Whether skin and hair are as sharp in a rendered picture as in the true one."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ..face_model.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from .image import as_floats

# Hair: the band around the upper half of the face oval between these enlargements of it, about the middle of the eyes.
HAIR_INNER, HAIR_OUTER = 1.12, 1.5
# Eyes, brows and lips are left out of the skin, enlarged by this about their middles.
FEATURE_MARGIN = 1.5
# A brow's points are its lower edge, then its upper edge in the same direction: once around, the latter goes back.
_BROW_RING = [0, 1, 2, 3, 4, 9, 8, 7, 6, 5]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def skin_mask(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask (height, width) bool of the inside of the face oval, without eyes, brows and mouth. Landmarks (478,
    >=2) in pixels."""
    skin = filled(enlarged(landmarks[FACE_OVAL, :2], 0.95), height, width)
    for part in (LEFT_EYE, RIGHT_EYE, LEFT_BROW[_BROW_RING], RIGHT_BROW[_BROW_RING], LIPS_OUTER):
        points = landmarks[part, :2]
        skin &= ~filled(enlarged(points, FEATURE_MARGIN), height, width)
    return skin


def hair_mask(landmarks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask (height, width) bool of a band above and beside the face's upper half. Landmarks (478, >=2) in pixels."""
    oval = landmarks[FACE_OVAL, :2]
    eyes = landmarks[np.concatenate([LEFT_EYE, RIGHT_EYE]), :2].mean(0)
    rings = [filled(eyes + factor * (oval - eyes), height, width) for factor in (HAIR_OUTER, HAIR_INNER)]
    down = landmarks[152, :2] - landmarks[10, :2]  # from the forehead to the chin
    y, x = np.mgrid[0:height, 0:width] + 0.5
    above = (x - eyes[0]) * down[0] + (y - eyes[1]) * down[1] < 0
    return rings[0] & ~rings[1] & above


def sharpness(picture: np.ndarray, mask: np.ndarray) -> float:
    """Return the variance of the Laplacian of the luma (0 to 255) in ``mask`` (H, W), of a picture (H, W, 3)."""
    luma = 255 * as_floats(picture) @ LUMA
    padded = np.pad(luma, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    return float(laplacian[mask].var())


def sharpness_ratio(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Return the rendered picture's sharpness in ``mask`` over the true one's: 1 is ideal, less is blurred.

    NaN where the mask is empty or the true picture has nothing to be sharp in.
    """
    if not mask.any():
        return float("nan")
    wanted = sharpness(target, mask)
    return sharpness(predicted, mask) / wanted if wanted > 1e-6 else float("nan")


def enlarged(points: np.ndarray, factor: float) -> np.ndarray:
    """Move points (P, 2) away from their middle."""
    middle = points.mean(0)
    return middle + factor * (points - middle)


def filled(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask (height, width) bool of the inside of a polygon (P, 2) in pixels."""
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in ring], fill=1)
    return np.array(canvas)
