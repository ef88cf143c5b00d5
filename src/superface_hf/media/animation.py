"""Animated pictures (WebP, PNG, AVIF) as video: frames with time stamps. Pillow decodes them; GIF is read as a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from .clock import MAX_FPS, without_pauses
from .picture import load_picture, open_picture
from .sources import View, open_source
from .work import Work

FORMATS = ("WEBP", "PNG", "AVIF")
STARTS = ((8, b"WEBP"), (0, b"\x89PNG"), (4, b"ftypavi"))  # the byte and the mark by which a file is recognised
# Like browsers: a frame with a duration below the first number is shown for the second.
MIN_DURATION, DEFAULT_DURATION = 11, 100  # milliseconds
PROBED = 32  # frames that are looked at to find the frame rate


@dataclass(frozen=True, eq=False)
class Still:
    """One frame (H, W, 3) uint8; times in milliseconds."""

    picture: np.ndarray
    pts: int
    duration: int


class Animation:
    """An animated picture.

    Args:
        source: a path or an open binary file.

    Attributes:
        size: width and height.
        count: of its frames.
        fps: how often they change.
    """

    def __init__(self, source: Path | IO[bytes], name: str, work: Work) -> None:
        self._source, self._name, self._work = source, name, work
        with self._open() as image:
            self.size = (int(image.width), int(image.height))
            self.count = int(getattr(image, "n_frames", 1))
        work.check_size(*self.size, name)

    @property
    def fps(self) -> float:
        durations = np.array([still.duration for still in islice(self._decoded(), PROBED)])
        return min(MAX_FPS, 1000 / float(without_pauses(durations).mean()))

    def __iter__(self) -> Iterator[Still]:
        for still in self._decoded():
            self._work.add_frame(still.picture.shape[1], still.picture.shape[0], self._name)
            yield still

    def _decoded(self) -> Iterator[Still]:
        time = 0
        with self._open() as image:
            for index in range(self.count):
                image.seek(index)
                picture = load_picture(image.copy())
                duration = round(float(image.info.get("duration") or 0))
                duration = duration if duration >= MIN_DURATION else DEFAULT_DURATION
                yield Still(picture, time, duration)
                time += duration

    def _open(self) -> Any:
        source = self._source if isinstance(self._source, Path) else View(self._source)
        return open_picture(source, FORMATS, int(self._work.limit.megapixels * 1_000_000))


def animation_of(source: Path | IO[bytes], name: str, work: Work) -> Animation | None:
    """Return the animated picture in a file, or None if the file holds no animated picture."""
    with open_source(source, "video") if isinstance(source, Path) else View(source) as file:
        start = file.read(16)
    if not any(start.startswith(mark, place) for place, mark in STARTS):
        return None
    found = Animation(source, name, work)
    return found if found.count > 1 else None
