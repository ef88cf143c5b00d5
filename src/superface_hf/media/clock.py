"""Map time stamps to a constant frame rate; where they pause, the picture stands still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol, TypeVar

import av
import numpy as np

MAX_FPS = 240.0
# Recordings are paused for minutes; a jump beyond this is a broken time stamp, and must not become hours of still picture.
MAX_PAUSE = 600.0  # seconds
# A frame that is shown longer than this, and longer than so many frames, is a pause that is reported.
PAUSE, PAUSE_FRAMES = 1.0, 4  # seconds, frames
PROBED = 3000  # packets that are looked at to find the frame rate
COMMON_RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)


class Stamped(Protocol):
    """A frame with its time stamp and duration in its stream's time base."""

    @property
    def pts(self) -> int | None: ...
    @property
    def duration(self) -> int: ...


Frame = TypeVar("Frame", bound=Stamped)


class Clock:
    """Maps time stamps to steps of a constant frame rate.

    Args:
        time_base: seconds of one unit of a time stamp.
        start: when the stream starts, in seconds; None: with its first frame.

    Attributes:
        index: the step at which the current frame is shown.
        pauses: for each time, in seconds from the start, at which the picture stands still, the seconds that it lasts.
    """

    def __init__(self, fps: float, time_base: float, start: float | None = None) -> None:
        self._fps, self._time_base, self._start = fps, time_base, start
        self._begun = False
        self.index = 0
        self.pauses: dict[float, float] = {}

    def advance(self, pts: int | None) -> None:
        """Advance to the frame with this time stamp."""
        if pts is None:
            self.index += self._begun
            self._begun = True
            return
        time = pts * self._time_base
        if not self._begun:
            # Frames before it could not be decoded, such as those before a recording's first key frame.
            if self._start is None or not 0 <= time - self._start <= MAX_PAUSE:
                self._start = time
            self._begun = True
            self.index = round((time - self._start) * self._fps)
            return
        if self._start is None:
            self._start = time - (self.index + 1) / self._fps
        steps = round((time - self._start) * self._fps) - self.index
        if not 0 <= steps <= MAX_PAUSE * self._fps:
            self._start = time - (self.index + 1) / self._fps
            steps = 1
        self._note(steps)
        self.index += steps

    def end(self, duration: int | None) -> int:
        """Return the step after the last frame, which may be shown for a while."""
        steps = round((duration or 0) * self._time_base * self._fps)
        if not (self._is_pause(steps) and steps <= MAX_PAUSE * self._fps):
            return self.index + 1
        self._note(steps)
        return self.index + steps

    def _note(self, steps: int) -> None:
        if self._is_pause(steps):
            self.pauses[self.index / self._fps] = steps / self._fps

    def _is_pause(self, steps: int) -> bool:
        return steps > max(PAUSE * self._fps, PAUSE_FRAMES)


def spans(
    frames: Iterable[Frame], clock: Clock, shown: Frame | None = None, begin: int = 0
) -> Iterator[tuple[Frame, int, int]]:
    """Yield each frame with the step at which it is first shown and the step at which it no longer is. A frame that
    another replaces within one step is left out.

    Args:
        shown: a frame that is shown already, since the step ``begin``.
    """
    for frame in frames:
        clock.advance(frame.pts)
        if shown is not None and clock.index > begin:
            yield shown, begin, clock.index
            begin = clock.index
        shown = frame
    if shown is not None:
        yield shown, begin, max(begin + 1, clock.end(shown.duration))


def frame_rate(container: Any, stream: Any, otherwise: float) -> float:
    """Return the frames per second while the picture moves; the average in a file's header counts its pauses too.

    Args:
        otherwise: the rate of files that do not state one.
    """
    declared = next(
        (float(r) for r in (stream.average_rate, stream.guessed_rate, stream.base_rate) if r and 0 < r <= MAX_FPS),
        None,
    )
    steps = _steps(container, stream)
    if len(steps) < 2:
        return declared or otherwise
    usual = without_pauses(steps)
    measured = min(MAX_FPS, float(1 / usual.mean()))
    if declared and abs(measured / declared - 1) < 0.01:
        return declared
    paused = len(usual) < len(steps)
    # A pause after the probed packets lowers the declared average. The two fields of a frame are not two frames.
    regular = np.abs(usual / np.median(usual) - 1).max() < 0.1
    if declared and not paused and not (regular and 1 < measured / declared < 1.9):
        return declared
    near = (declared, *(float(rate) for rate in (stream.guessed_rate, stream.base_rate) if rate), *COMMON_RATES)
    return next((rate for rate in near if rate and abs(measured / rate - 1) < 0.01), measured)


def without_pauses(steps: np.ndarray) -> np.ndarray:
    """Return the times between frames without those that are far longer than usual."""
    return steps[steps <= PAUSE_FRAMES * np.median(steps)]


def _steps(container: Any, stream: Any) -> np.ndarray:
    """Return the seconds between the time stamps of the first packets."""
    stamps: set[int] = set()
    with suppress(av.FFmpegError, ValueError):  # a damaged file gives the stamps before the damage
        stamps.update(packet.pts for packet in islice(container.demux(stream), PROBED) if packet.pts is not None)
    return np.diff(np.sort(np.array(list(stamps), np.float64))) * float(stream.time_base or 0)
