"""The recorded driver: a ``Motion`` that is known in advance, from a file, from the package, or made by hand."""

from __future__ import annotations

from collections.abc import Iterator

from ..animation.retargeting import MotionLike, as_motion, rest_of
from ..media import SoundReader
from ..motion import Motion
from .base import Piece, split


class RecordedDriver:
    """Plays a motion.

    Args:
        motion: a Motion, a .safetensors file of one, or the name of a bundled one.
        fps: the frame rate of the result; None keeps the motion's own.

    Raises:
        MediaError, UnknownNameError, MotionError: there is no such motion.
    """

    sound: SoundReader | None = None
    missing: tuple[int, ...] = ()

    def __init__(self, motion: MotionLike, fps: float | None = None) -> None:
        motion = as_motion(motion)
        self._rest = rest_of(motion)
        self._motion: Motion = motion if fps in (None, motion.fps) else motion.resample(fps or motion.fps)
        self.fps, self.frames = self._motion.fps, len(self._motion)

    def pieces(self) -> Iterator[Piece]:
        return (Piece(part, rest=self._rest) for part in split(self._motion))


class StillDriver:
    """Gives no motion for some frames: the portrait rests, and only edits and regions change it.

    Args:
        frames: the number of frames.
        fps: the frame rate.
    """

    sound: SoundReader | None = None
    missing: tuple[int, ...] = ()

    def __init__(self, frames: int, fps: float) -> None:
        self.frames, self.fps = frames, fps

    def pieces(self) -> Iterator[Piece]:
        return (Piece(None) for _ in range(self.frames))
