"""Prepare a picture for the detector, and read faces from the detector's maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .crops import FaceCrop
from .networks import DETECTOR_STRIDE

# The grey level beside the picture in the square, as in training.
FILL = 114


@dataclass(frozen=True)
class Detection:
    """A possible face: its crop of margin 1 in pixels of the picture, and the heatmap's score."""

    crop: FaceCrop
    score: float


def check_picture(image: np.ndarray) -> None:
    """Raise ValueError for anything but an (H, W, 3) uint8 array with pixels."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"the tracker takes pictures as (H, W, 3) uint8 arrays, got {what}")
    if not image.size:
        raise ValueError(f"the picture is empty: its shape is {image.shape}")


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Fit a picture into the top left of a square.

    Args:
        image: (H, W, 3) uint8, of any size.

    Returns:
        (size, size, 3) uint8, and pixels of the square per pixel of the picture.
    """
    # Subsampling first avoids a full copy of a picture of 12,000 pixels.
    stride = max(1, max(image.shape[:2]) // (8 * size))
    thin = np.ascontiguousarray(image[::stride, ::stride])
    scale = size / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    fitted = Image.fromarray(thin).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.full((size, size, 3), FILL, np.uint8)
    square[:height, :width] = np.asarray(fitted)
    return square, scale


def read_maps(logits: Tensor, geometry: Tensor, threshold: float, limit: int) -> list[list[Detection]]:
    """Return the faces of a batch of detector outputs, in pixels of the square, best first, each face once.

    Args:
        logits: (B, h, w); geometry: (B, 5, h, w), see ``FaceDetector.forward``.
        limit: the most faces in one picture.
    """
    scores = logits.float().sigmoid()
    peaks = scores * (F.max_pool2d(scores[:, None], 3, 1, 1)[:, 0] == scores)
    best, places = peaks.flatten(1).topk(min(4 * limit, peaks[0].numel()))
    values = geometry.float().flatten(2).gather(2, places[:, None].expand(-1, 5, -1)).cpu().numpy()
    columns = scores.shape[2]
    found = []
    for row_scores, row_places, row in zip(best.cpu().numpy(), places.cpu().numpy(), values, strict=True):
        kept: list[Detection] = []
        for score, place, (dx, dy, log_size, cos, sin) in zip(row_scores, row_places, row.T, strict=True):
            if score < threshold or len(kept) == limit:
                break
            crop = FaceCrop(
                x=float(place % columns + 0.5 + dx) * DETECTOR_STRIDE,
                y=float(place // columns + 0.5 + dy) * DETECTOR_STRIDE,
                size=math.exp(min(float(log_size), 8.0)) * DETECTOR_STRIDE,
                angle=math.atan2(float(sin), float(cos)),
            )
            if all(_overlap(crop, other.crop) < 0.4 for other in kept):
                kept.append(Detection(crop, float(score)))
        found.append(kept)
    return found


def _overlap(one: FaceCrop, other: FaceCrop) -> float:
    """Return the intersection over union of two crops, taken as squares with level sides."""
    wide = min(one.x + one.size / 2, other.x + other.size / 2) - max(one.x - one.size / 2, other.x - other.size / 2)
    high = min(one.y + one.size / 2, other.y + other.size / 2) - max(one.y - one.size / 2, other.y - other.size / 2)
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (one.size**2 + other.size**2 - shared)


def box_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes (4,): left, top, right, bottom."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = max(float(width), 0.0) * max(float(height), 0.0)
    area = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other))
    return shared / max(area - shared, 1e-9)


def pixels_of(pictures: list[np.ndarray], like: Tensor) -> Tensor:
    """Convert equal pictures (S, S, 3) uint8 to (B, 3, S, S) in [-1, 1], on the device and in the dtype of ``like``."""
    batch = torch.from_numpy(np.stack(pictures)).to(like.device).permute(0, 3, 1, 2)
    return batch.to(like.dtype) / 127.5 - 1
