"""Limit the work of one job: pixels of a frame, frames x pixels, and time. Work is counted as it is done, not as a
header says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..errors import MediaError

Frame = TypeVar("Frame")
# A small frame costs as much as one of so many pixels, because its face is brought to a fixed size.
MIN_PIXELS = 256 * 256


@dataclass(frozen=True)
class WorkLimit:
    """The limits of one job.

    Attributes:
        megapixels: the most megapixels of one frame of a video.
        gigapixels: the most gigapixels of all frames that are read, each counted as often as it is shown. The default is
            five hours of 1920 x 1080 at 25 frames a second.
        seconds: the longest time from the start of the job to its last frame; None: no limit.
    """

    megapixels: float = 64
    gigapixels: float = 1000
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("megapixels", "gigapixels", "seconds"):
            value = getattr(self, name)
            if not (value is None and name == "seconds") and not (isinstance(value, (int, float)) and value > 0):
                raise MediaError(f"A limit of {value!r} {name} allows nothing: it must be above zero.")


class Work:
    """Counts the work of one job against its limit. The clock starts when the object is made."""

    def __init__(self, limit: WorkLimit | None = None) -> None:
        self.limit = limit or WorkLimit()
        self._pixels = 0
        self._started = time.monotonic()

    def check_size(self, width: int, height: int, name: str) -> None:
        """Raise MediaError for a frame with too many pixels."""
        if width * height > self.limit.megapixels * 1_000_000:
            raise MediaError(
                f"The video {name} has {width} x {height} pixels: the limit is {self.limit.megapixels:g} megapixels a frame. "
                "Scale it down."
            )

    def add_frame(self, width: int, height: int, name: str) -> None:
        """Count a frame that has been decoded or is shown once more.

        Raises:
            MediaError: the frame is too large, the job is too much work, or it takes too long.
        """
        self.check_size(width, height, name)
        self._pixels += max(width * height, MIN_PIXELS)
        if self._pixels > self.limit.gigapixels * 1_000_000_000:
            raise MediaError(
                f"The video {name} is too much work: more than {self.limit.gigapixels:g} gigapixels (frames x width x height). "
                "Cut it, scale it down, or lower its frame rate."
            )
        self.check_time()

    def check_time(self) -> None:
        """Raise MediaError if the time limit is exceeded."""
        if self.limit.seconds is not None and time.monotonic() - self._started > self.limit.seconds:
            raise MediaError(
                f"It took longer than the limit of {self.limit.seconds:g} s and was stopped. Try something shorter or smaller."
            )

    def timed(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass frames on until the time limit is exceeded."""
        for frame in frames:
            self.check_time()
            yield frame
