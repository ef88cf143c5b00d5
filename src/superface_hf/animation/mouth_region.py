"""The part of a face that another mouth changes: how far each mesh point may move, and which pixels may be painted.

Both are told by one distance, measured in the plane of the mean face from the middle of the mouth: 0 there, 1 just below
the nose, at the ears, and on the neck below the chin (where there are no mesh points that should rest: the chin moves freely).
"""

from __future__ import annotations

import numpy as np

from ..face_model.linear import FaceModel

# In inter-ocular distances of the mean face. Its mouth is at a height of 0.41, the base of its nose at 0.12, the chin at
# 0.93, and the jaw below the ears 0.78 to the side.
MIDDLE = 0.42
ABOVE, ASIDE, BELOW_CHIN = 0.30, 0.86, 0.24
CHIN = 152
# Over this share of the distance, up to the border, mesh points move less and less, and painted pixels fade out.
MOVING_FADE, PAINTED_FADE = 0.40, 0.22


class MouthRegion:
    """The region on one face model."""

    def __init__(self, face_model: FaceModel) -> None:
        self._plane = face_model.mean[:, :2].double().numpy()
        fade = (1 - _distance(self._plane, below=2 * (self._plane[CHIN, 1] - MIDDLE))) / MOVING_FADE
        #: (478,) float64 in [0, 1]: which share of a mouth's movement each mesh point follows.
        self.weights = _smoothstep(fade)
        self._inside = self.weights > 0

    def mask(self, own: np.ndarray, new: np.ndarray, height: int, width: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """Which pixels are painted.

        Args:
            own, new: (478, 3) landmarks in pixels of the picture, before and after the mouth moved.
            height, width: of the picture.

        Returns:
            A box (rows, columns), and how much each of its pixels is painted, (h, w) float32 in [0, 1]. It is 0 along the
            box's border, unless the picture ends there.
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
        mask = _smoothstep((1 - _distance(plane, below)) / PAINTED_FADE)
        return (slice(top, bottom), slice(left, right)), mask.astype(np.float32)


def _distance(plane: np.ndarray, below: float) -> np.ndarray:
    """(..., 2) in the plane of the mean face -> (...), 1 on the region's border."""
    x, y = plane[..., 0], plane[..., 1] - MIDDLE
    return np.hypot(x / ASIDE, y / np.where(y > 0, below, ABOVE))


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 2): the affine map of (P, 2) points, ``source @ map[:2] + map[2]``, nearest to ``target`` (P, 2)."""
    return np.linalg.lstsq(np.pad(source, ((0, 0), (0, 1)), constant_values=1.0), target, rcond=None)[0]


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
