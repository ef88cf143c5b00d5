"""Restore the face in a picture, and nothing around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ...utils.easing import smoothstep
from ..face_space.canonical import Upright
from .fidelity import check_fidelity

if TYPE_CHECKING:
    from .modeling_restorer import CodebookRestorer

BORDER = 0.12  # width of the soft border inside the face, as a share of the face's width
MARGIN = 0.35  # seen around the face, likewise
NEAR = 1.25  # faces are seen as they are up to so much coarser than the training's, and resized to its scale beyond


@torch.inference_mode()
def restore_face(
    restorer: CodebookRestorer, picture: np.ndarray, landmarks: np.ndarray, fidelity: float = 0.5
) -> np.ndarray:
    """Return a picture with its face restored; pixels outside the face are unchanged.

    Args:
        restorer: the model.
        picture: (H, W, 3) uint8.
        landmarks: (478, 3) in pixels of it.
        fidelity: 0 (detail of the codebook alone) to 1 (closest to the input).

    Raises:
        SuperFaceError: ``fidelity`` is out of its range.
    """
    check_fidelity(fidelity)
    rows, columns, mask = face_mask(landmarks, *picture.shape[:2])
    if not mask.any():
        return picture
    part = np.ascontiguousarray(picture[rows, columns])
    seen = torch.from_numpy(part).to(restorer.device).permute(2, 0, 1)[None].float() / 255
    scale = Upright.of(landmarks).scale
    size = seen.shape[-2:]
    if scale > NEAR:
        seen = F.interpolate(seen, scale_factor=scale, mode="bicubic", align_corners=False).clamp(0, 1)
    restored = restorer.restore(seen, fidelity)
    if restored.shape[-2:] != size:
        restored = F.interpolate(restored, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    new = restored[0].permute(1, 2, 0).cpu().numpy() * 255
    mixed = part + mask[..., None] * (new - part)
    result = picture.copy()
    result[rows, columns] = np.where(mask[..., None] > 0, mixed.round().clip(0, 255).astype(np.uint8), part)
    return result


def face_mask(landmarks: np.ndarray, height: int, width: int) -> tuple[slice, slice, np.ndarray]:
    """Return the rows and columns of a picture around a face, and a mask (h, w) float32 of them: 1 in the face, falling to 0
    at the hull of its landmarks (478, 3) in pixels."""
    points = landmarks[:, :2]
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float(high[0] - low[0])
    left, top = (
        int(np.clip(np.floor(value - margin), 0, most)) for value, most in zip(low, (width, height), strict=True)
    )
    right, bottom = (
        int(np.clip(np.ceil(value + margin), 0, most)) for value, most in zip(high, (width, height), strict=True)
    )
    inside = np.zeros((bottom - top, right - left), np.uint8)
    if inside.size == 0:
        return slice(top, bottom), slice(left, right), inside.astype(np.float32)
    hull = cv2.convexHull((points - (left, top)).astype(np.float32))[:, 0].round().astype(np.int32)
    cv2.fillConvexPoly(inside, hull, 1)
    deep = cv2.distanceTransform(np.pad(inside, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
    border = BORDER * float(high[0] - low[0])
    return slice(top, bottom), slice(left, right), smoothstep(deep, 0, border).astype(np.float32)
