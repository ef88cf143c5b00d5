"""Cut the pictures of mouths that the lip reader sees."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model import topology
from ...face_model.coordinates import Square
from ..painters.windows import MOUTH, Region, RegionWindow

# What of the face is looked at, and how finely: lips, chin and the folds beside them.
HEIGHT, WIDTH = 48, 72
WATCHED = Region(topology.LIPS_OUTER, (HEIGHT, WIDTH), 1.0, 0.1)
# Red, green and blue in a grey picture (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


def mouth_pictures(pictures: Tensor, landmarks: Tensor) -> Tensor:
    """Cut mouths, upright and equally large, out of square pictures; differentiable.

    Args:
        pictures: (B, 3, S, S) in [0, 1].
        landmarks: (B, 478, 3) in IMAGE coordinates.

    Returns:
        (B, 48, 72) grey, in [0, 1].
    """
    return _grey(RegionWindow.around(landmarks, WATCHED).cut(pictures))


def pictures_in_windows(windows: Tensor) -> Tensor:
    """Cut the same mouths out of the windows (B, 3, 128, 192) in which the teacher paints them; differentiable: (B, 48, 72)."""
    share = WATCHED.reach / MOUTH.reach
    lower = (WATCHED.lower - MOUTH.lower) / MOUTH.reach * (MOUTH.size[1] / MOUTH.size[0])
    place = windows.new_tensor([[share, 0.0, 0.0], [0.0, share, lower]]).expand(len(windows), -1, -1)
    grid = F.affine_grid(place, [len(windows), 3, HEIGHT, WIDTH], align_corners=False)
    return _grey(F.grid_sample(windows, grid, padding_mode="border", align_corners=False))


def _grey(pictures: Tensor) -> Tensor:
    red, green, blue = pictures.unbind(1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def mouths_of(frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Cut the mouths out of the frames of a video.

    Args:
        frames: (H, W, 3) uint8 each.
        landmarks: (478, 3) in PIXELS of each frame, or None where it shows no face.

    Returns:
        The mouths (T, 48, 72) uint8, that of the frame before where there is no face, and whether there is one (T,).
    """
    mouths: list[np.ndarray] = []
    found: list[bool] = []
    for frame, points in zip(frames, landmarks, strict=True):
        found.append(points is not None)
        if points is None:
            mouths.append(mouths[-1] if mouths else np.zeros((HEIGHT, WIDTH), np.uint8))
            continue
        square = Square.around_face(points)
        picture = torch.from_numpy(square.cut(frame)).permute(2, 0, 1)[None].float() / 255
        mouth = mouth_pictures(picture, torch.from_numpy(square.to_image(points))[None].float())[0]
        mouths.append((255 * mouth).round().byte().numpy())
    return np.array(mouths, np.uint8).reshape(-1, HEIGHT, WIDTH), np.array(found, bool)


def nearest_frames(frames: int, fps: float, rate: float) -> np.ndarray:
    """Return which of so many frames at ``fps`` are shown at ``rate`` frames a second, (T,) int64."""
    count = max(1, int(frames / fps * rate))
    return np.minimum((np.arange(count) / rate * fps).round().astype(int), frames - 1)
