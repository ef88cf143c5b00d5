"""Bring a decoded frame to the shape that a player shows: square pixels, upright and not mirrored, all frames of one size."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type

# A header that states wider or higher pixels than this (width over height, or height over width) is broken.
WIDEST_PIXEL = 4
# Sizes whose proportions differ by less than this are stretched; others are shown whole, with black beside them.
ALIKE = 0.02


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the size with square pixels; no pixel is lost.

    Args:
        aspect: the width of a pixel over its height, from the file.
    """
    if not aspect or aspect == 1 or not 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


class Orientation:
    """The rotation and mirroring of one video's frames, as their display matrix says (ISO 14496-12).

    PyAV ties a frame to its side data in a reference cycle, so a frame whose matrix was read stays in memory until the next
    garbage collection, which can take minutes. The matrix belongs to the file: it is read again only where the frames' size or
    rotation changes.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, int, int] | None = None
        self._turn = (False, False, False)

    def upright(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """Rotate and mirror the picture (H, W, 3) of a frame."""
        across, flip_rows, flip_columns = self._turn_of(frame)
        picture = picture.transpose(1, 0, 2) if across else picture
        picture = picture[::-1] if flip_rows else picture
        return np.ascontiguousarray(picture[:, ::-1] if flip_columns else picture)

    def shown_size(self, frame: av.VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
        """Return the width and height at which a player shows the frame."""
        width, height = square_size(frame.width, frame.height, aspect)
        return (height, width) if self._turn_of(frame)[0] else (width, height)

    def _turn_of(self, frame: av.VideoFrame) -> tuple[bool, bool, bool]:
        seen = frame.width, frame.height, frame.rotation
        if seen != self._seen:
            self._seen, self._turn = seen, _turn(frame)
        return self._turn


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a picture to a size; if the proportions differ, the whole picture is centred on black."""
    own_height, own_width = picture.shape[:2]
    if (own_width, own_height) == (width, height):
        return picture
    scale = min(width / own_width, height / own_height)
    if abs(own_width * height / (own_height * width) - 1) < ALIKE:
        return _resized(picture, width, height)
    small = _resized(picture, max(1, round(own_width * scale)), max(1, round(own_height * scale)))
    result = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    result[top : top + small.shape[0], left : left + small.shape[1]] = small
    return result


def squared(picture: np.ndarray, aspect: Fraction | None) -> np.ndarray:
    """Scale a picture to square pixels."""
    height, width = picture.shape[:2]
    size = square_size(width, height, aspect)
    return picture if size == (width, height) else _resized(picture, *size)


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    smaller = width * height < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether rows become columns, and then whether rows and columns are reversed."""
    data: Any = cast("Any", frame.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return False, False, False
    # A point goes from (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d = (float(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0
