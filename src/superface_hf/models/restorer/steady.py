"""Keep what a restorer draws steady from frame to frame: it sees each frame alone, and would flicker."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...face_model.topology import STABLE
from ...motion.rotations import fit_similarity
from .face_region import face_mask

# So much of a change comes from the frame before where both frames show the same: where they differ by about SAME grey levels,
# averaged over SMOOTH x SMOOTH pixels, it begins anew.
KEPT, SAME, SMOOTH = 0.85, 12.0, 5


@dataclass(frozen=True, eq=False)
class _Seen:
    """The face's part of a frame (h, w, 3) float32, its change by the restorer, its upper left corner, and landmarks (478, 3)
    in pixels of the frame."""

    part: np.ndarray
    change: np.ndarray
    corner: np.ndarray
    landmarks: np.ndarray

    def carried_to(self, landmarks: np.ndarray, corner: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """Return part and change, moved with the head into another frame's part of ``size`` (width, height)."""
        flat = [
            np.pad(np.asarray(points, np.float64)[STABLE, :2], ((0, 0), (0, 1)))
            for points in (self.landmarks, landmarks)
        ]
        rotation, scale, offset = fit_similarity(*flat)
        turn = scale * rotation[:2, :2]
        matrix = np.concatenate([turn, (turn @ self.corner + offset[:2] - corner)[:, None]], 1)
        matrix[:, 2] += turn.sum(1) / 2 - 0.5  # pixel centres, as OpenCV counts
        return [
            cv2.warpAffine(each, matrix, size, borderMode=cv2.BORDER_REPLICATE) for each in (self.part, self.change)
        ]


class SteadyRestoration:
    """Takes the frames of one video in their order. The change of each is mixed with that of the frame before, which has moved
    with the head, except where the picture has changed (lips, lids)."""

    def __init__(self) -> None:
        self._before: _Seen | None = None

    def __call__(self, frame: np.ndarray, restored: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return the steadier restored frame (H, W, 3) uint8.

        Args:
            frame, restored: (H, W, 3) uint8, before and after ``restore_face``.
            landmarks: (478, 3) in pixels.
        """
        rows, columns, mask = face_mask(landmarks, *frame.shape[:2])
        if not mask.any():
            self._before = None
            return restored
        part = frame[rows, columns].astype(np.float32)
        change = restored[rows, columns] - part
        corner = np.array([columns.start, rows.start], np.float64)
        if self._before is not None:
            old, carried = self._before.carried_to(landmarks, corner, (part.shape[1], part.shape[0]))
            apart = cv2.blur(np.abs(old - part).mean(-1), (SMOOTH, SMOOTH))
            change += (KEPT * np.exp(-np.square(apart / SAME)) * (mask > 0))[..., None] * (carried - change)
        self._before = _Seen(part, change, corner, landmarks)
        result = restored.copy()
        result[rows, columns] = (part + change).round().clip(0, 255).astype(np.uint8)
        return result


__all__ = ["SteadyRestoration"]
