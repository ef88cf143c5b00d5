"""Track one person through the shots of a video that is dubbed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..animation.mouth_swap import Person
from ..face_model.coordinates import Square

# Where a face appears or disappears, the new mouth fades in and out within so many frames.
FADE_FRAMES = 4
# The crop stays in place until the face has moved, grown or shrunk by this share of the crop's side.
CROP_TOLERANCE = 0.06


@dataclass(eq=False)
class Shot:
    """One shot of one person: the person, and the crop, which follows the face only when it must."""

    person: Person
    crop: Square | None = None

    def placed(self, pixels: np.ndarray) -> Square:
        """Return the crop, moved if the face with landmarks (478, 3) in PIXELS has left its middle."""
        ideal = Square.around_face(pixels)
        if self.crop is None or not _near(ideal, self.crop):
            self.crop = ideal
        return self.crop


@dataclass(frozen=True, eq=False)
class Track:
    """A face in one frame: landmarks (478, 3) in pixels, and in IMAGE coordinates of the square around the picture."""

    pixels: np.ndarray
    landmarks: np.ndarray
    shot: Shot


def with_surroundings(
    watched: Iterable[tuple[np.ndarray, np.ndarray, Track | None]], reach: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Track | None], int]]:
    """Yield each frame's picture and mouth, the tracks up to ``reach`` frames before and after, and its index in those."""
    tracks: deque[Track | None] = deque(maxlen=2 * reach + 1)
    waiting: deque[tuple[np.ndarray, np.ndarray]] = deque()
    for picture, row, track in watched:
        tracks.append(track)
        waiting.append((picture, row))
        if len(waiting) > reach:
            yield *waiting.popleft(), list(tracks), len(tracks) - 1 - reach
    while waiting:
        at = len(tracks) - len(waiting)
        yield *waiting.popleft(), list(tracks)[max(0, at - reach) :], min(at, reach)


def same_shot(around: list[Track | None], at: int) -> tuple[int, int]:
    """Return start and stop of the longest run of frames around ``at`` that show the same person without a gap."""
    track = around[at]

    def same(index: int) -> bool:
        other = around[index]
        return other is not None and track is not None and other.shot is track.shot

    start, stop = at, at + 1
    while start > 0 and same(start - 1):
        start -= 1
    while stop < len(around) and same(stop):
        stop += 1
    return start, stop


def fade_in(around: list[Track | None], border: int, at: int) -> float:
    """Return how much of the new mouth the frame ``at`` shows: less near a border of its run that is a frame without a
    face."""
    if not 0 <= border < len(around) or around[border] is not None:
        return 1.0
    return min(1.0, abs(at - border) / (FADE_FRAMES + 1))


def _near(one: Square, other: Square) -> bool:
    across = abs(one.left + one.side / 2 - other.left - other.side / 2)
    down = abs(one.top + one.side / 2 - other.top - other.side / 2)
    return max(across, down, abs(one.side - other.side)) <= CROP_TOLERANCE * other.side
