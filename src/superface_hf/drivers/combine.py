"""Combinations of drivers, which are drivers themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Literal

from ..errors import MotionError
from ..media import SoundReader
from .base import Driver, Piece

WhenShort = Literal["bounce", "hold", "stop"]


class WithMouth:
    """The head, eyes and brows of one driver with the mouth and the sound of another, which speaks.

    Args:
        head: the driver of head, eyes and brows; its mouth is not used.
        speech: the driver of the mouth. Each of its pieces must have a mouth; the combination lasts as long as it does.
        when_short: what happens if the head ends before the speech: it plays backward and forward again ("bounce"), its last
            frame is held ("hold"), or the combination ends too ("stop").

    Raises:
        MotionError: the frame rates of the two differ.
    """

    def __init__(self, head: Driver, speech: Driver, when_short: WhenShort = "bounce") -> None:
        if head.fps != speech.fps:
            raise MotionError(
                f"Drivers that are combined need one frame rate: {head.fps:g} and {speech.fps:g} frames a second differ."
            )
        self._head, self._speech, self._when_short = head, speech, when_short

    @property
    def fps(self) -> float:
        return self._head.fps

    @property
    def frames(self) -> int | None:
        spoken, shown = self._speech.frames, self._head.frames
        return min(spoken, shown) if self._when_short == "stop" and spoken and shown else spoken

    @property
    def sound(self) -> SoundReader | None:
        return self._speech.sound

    @property
    def missing(self) -> Sequence[int]:
        return self._head.missing

    def pieces(self) -> Iterator[Piece]:
        frames = _lengthened(_singly(self._head.pieces()), self._when_short)
        for spoken in self._speech.pieces():
            assert spoken.mouth is not None
            count = 0
            for count, frame in enumerate(islice(frames, len(spoken)), start=1):
                yield replace(frame, mouth=spoken.mouth[count - 1 : count])
            if count < len(spoken):
                return


class Held:
    """A driver whose pieces are all kept, so that it can be iterated again."""

    def __init__(self, driver: Driver) -> None:
        self._pieces = list(driver.pieces())
        self.fps, self.sound, self.missing = driver.fps, driver.sound, driver.missing
        self.frames = sum(map(len, self._pieces))

    def pieces(self) -> Iterator[Piece]:
        return iter(self._pieces)


def _lengthened(frames: Iterator[Piece], when_short: WhenShort) -> Iterator[Piece]:
    """Yield the frames, and then more after the last one, except for "stop"."""
    seen: list[Piece] = []
    last = Piece(None)
    for last in frames:
        if when_short == "bounce":
            seen.append(last)
        yield last
    while when_short == "hold" or (when_short == "bounce" and len(seen) == 1):
        yield last
    while len(seen) > 1:
        # The frames at the turning points are not repeated.
        yield from chain(seen[-2::-1], seen[1:])


def _singly(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if piece.motion is None:
            yield piece
        else:
            yield from (replace(piece, motion=piece.motion[index]) for index in range(len(piece.motion)))
