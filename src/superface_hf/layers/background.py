"""The background behind the person: a picture, a video, a colour, a blur of the picture, or nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ImageColor

from ..errors import MediaError
from ..media import VideoReader, load_picture

TRANSPARENT, BLUR = "transparent", "blur"
# Standard deviation of the blur, as a share of the picture's longer side.
BLUR_SIGMA = 0.015
VIDEOS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")


class Background:
    """The background that a caller asks for.

    Args:
        source: "transparent"; "blur"; a colour (a name, "#rrggbb", or three numbers from 0 to 255); a picture as
            :func:`~superface_hf.media.load_picture` takes it; or a video: a path or URL with the suffix of a video, an array
            (T, H, W, 3), or a :class:`~superface_hf.media.VideoReader`.

    Raises:
        MediaError: it is none of these, or cannot be read.
    """

    def __init__(self, source: Any) -> None:
        self.transparent = isinstance(source, str) and source == TRANSPARENT
        self._blur = isinstance(source, str) and source == BLUR
        self._colour: np.ndarray | None = None
        self._picture: np.ndarray | None = None
        self._video: VideoReader | None = None
        if self.transparent or self._blur:
            return
        self._colour = _colour(source)
        if self._colour is not None:
            return
        if isinstance(source, VideoReader) or _is_video(source):
            self._video = source if isinstance(source, VideoReader) else VideoReader(source)
            return
        try:
            self._picture = load_picture(source)
        except MediaError as error:
            raise MediaError(
                f'The background cannot be used: {error} A background is "transparent", "blur", a colour such as '
                '"#20304a" or "white", a picture, or a video.'
            ) from error

    def frames(self, plate: np.ndarray, fps: float) -> Iterator[np.ndarray]:
        """Yield backgrounds (H, W, 3) uint8 without end, ``fps`` a second, of the size of ``plate`` (H, W, 3) uint8,
        which is the picture without the person. A video starts again at its end."""
        shape = plate.shape
        if self._video is not None:
            yield from _at_rate(self._video, fps, shape)
            raise MediaError("The background video has no frames.")
        if self._blur:
            still = cv2.GaussianBlur(plate, (0, 0), BLUR_SIGMA * max(shape[:2]))
        elif self._picture is not None:
            still = covering(self._picture, shape)
        else:
            still = np.broadcast_to(np.zeros(3, np.uint8) if self._colour is None else self._colour, shape).copy()
        yield from itertools.repeat(still)


def covering(picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Scale a picture until it covers the shape (H, W, ...), and crop it around its middle."""
    height, width = shape[:2]
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    large = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])


def _at_rate(video: VideoReader, fps: float, shape: Sequence[int]) -> Iterator[np.ndarray]:
    step, due, passed = video.fps / fps, 0.0, 0
    while True:
        before = passed
        for frame in video:
            passed += 1
            if due < passed:
                fitting = covering(frame, shape)
            while due < passed:
                yield fitting
                due += step
        if passed == before:
            return


def _is_video(source: Any) -> bool:
    if isinstance(source, (str, os.PathLike)):
        return Path(str(source).split("?")[0]).suffix.lower() in VIDEOS
    return isinstance(source, (list, tuple)) or (isinstance(source, np.ndarray) and source.ndim == 4)


def _colour(source: Any) -> np.ndarray | None:
    if isinstance(source, str):
        try:
            return np.array(ImageColor.getrgb(source)[:3], np.uint8)
        except ValueError:
            return None
    if isinstance(source, (list, tuple)) and len(source) == 3 and all(isinstance(value, int) for value in source):
        if not all(0 <= value <= 255 for value in source):
            raise MediaError(f"A background colour must be three numbers from 0 to 255, not {tuple(source)}.")
        return np.array(source, np.uint8)
    return None


__all__ = ["Background", "covering"]
