"""The region that a new mouth changes: how far each mesh point may move, and which pixels may be painted.

Both follow from one distance, measured in the plane of the mean face from the middle of the mouth: 0 there, 1 just below the
nose, at the ears, and on the neck below the chin. The chin itself moves freely.
"""

from __future__ import annotations

import numpy as np

from ..face_model.linear import FaceModel
from ..utils.easing import smoothstep

# In inter-ocular distances of the mean face. Its mouth is at a height of 0.41, the base of its nose at 0.12, the chin at
# 0.93, and the jaw below the ears 0.78 to the side.
MIDDLE = 0.42
ABOVE, ASIDE, BELOW_CHIN = 0.30, 0.86, 0.24
CHIN = 152
# The share of the distance, up to the border, over which mesh points move less and less, and painted pixels fade out.
MOVING_FADE, PAINTED_FADE = 0.40, 0.22


class MouthRegion:
    """The mouth's region on one face model."""

    def __init__(self, face_model: FaceModel) -> None:
        self._plane = face_model.mean[:, :2].double().numpy()
        fade = (1 - _distance(self._plane, below=2 * (self._plane[CHIN, 1] - MIDDLE))) / MOVING_FADE
        #: (478,) float64 in [0, 1]: which share of a mouth's movement each mesh point follows.
        self.weights = smoothstep(fade)
        self._inside = self.weights > 0

    def mask(self, own: np.ndarray, new: np.ndarray, height: int, width: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return the mask of the pixels that are painted.

        Args:
            own, new: (478, 3) landmarks in pixels of the picture, before and after the mouth moved.
            height, width: the size of the picture in pixels.

        Returns:
            A box (rows, columns), and the mask of its pixels, (h, w) float32 in [0, 1]. The mask is 0 along the box's border,
            unless the picture ends there.
        """
        to_plane = _affine(own[self._inside, :2], self._plane[self._inside])
        chins = np.stack([own[CHIN, :2], new[CHIN, :2]]) @ to_plane[:2] + to_plane[2]
        below = max(self._plane[CHIN, 1], *chins[:, 1]) + BELOW_CHIN - MIDDLE
        corners = np.array([[x, y] for x in (-ASIDE, ASIDE) for y in (MIDDLE - ABOVE, MIDDLE + below)])
        there = (corners - to_plane[2]) @ np.linalg.inv(to_plane[:2])
        left, top = np.clip(np.floor(there.min(0)).astype(int), 0, (width, height))
        right, bottom = np.clip(np.ceil(there.max(0)).astype(int), 0, (width, height))
        y, x = np.mgrid[top:bottom, left:right] + 0.5
        plane = np.stack([x, y], axis=-1) @ to_plane[:2] + to_plane[2]
        mask = smoothstep((1 - _distance(plane, below)) / PAINTED_FADE)
        return (slice(top, bottom), slice(left, right)), mask.astype(np.float32)


def _distance(plane: np.ndarray, below: float) -> np.ndarray:
    """Return the distance (...) of points (..., 2) in the plane of the mean face from the mouth; 1 is the region's border."""
    x, y = plane[..., 0], plane[..., 1] - MIDDLE
    return np.hypot(x / ASIDE, y / np.where(y > 0, below, ABOVE))


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the affine map (3, 2) of points (P, 2), ``source @ map[:2] + map[2]``, nearest to ``target`` (P, 2)."""
    return np.linalg.lstsq(np.pad(source, ((0, 0), (0, 1)), constant_values=1.0), target, rcond=None)[0]
