"""``Driver``: anything that gives ``Motion``, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..animation.rest import Rest
from ..media import SoundReader
from ..motion import Motion

PIECE = 64  # frames of a known motion that are given at once


@dataclass(frozen=True, eq=False)
class Piece:
    """Some frames of driving motion.

    Attributes:
        motion: T frames at the driver's rate. None is one frame in which the driving person has not been seen yet.
        mouth: (T, M) what speech says, absolute; None leaves the mouth to ``motion``.
        rest: how the driving person rests, which changes are measured from; None is the first frame of all.
    """

    motion: Motion | None
    mouth: np.ndarray | None = None
    rest: Rest | None = None

    def __len__(self) -> int:
        return 1 if self.motion is None else len(self.motion)


@runtime_checkable
class Driver(Protocol):
    """Gives motion to a portrait. Pass one as ``motion=`` to the pipeline; it may live outside of this package.

    Attributes:
        fps: frames a second of all pieces.
        frames: about how many frames there will be, where that is known.
        sound: goes with the clip; None where there is none.
        missing: the frames in which no face was seen, where all frames have been looked at already.
    """

    @property
    def fps(self) -> float: ...
    @property
    def frames(self) -> int | None: ...
    @property
    def sound(self) -> SoundReader | None: ...
    @property
    def missing(self) -> Sequence[int]: ...

    def pieces(self) -> Iterator[Piece]:
        """All that it does, from the beginning. A driver of something live can be gone through once."""
        ...


def split(motion: Motion) -> Iterator[Motion]:
    """A known motion in parts that are retargeted at once."""
    return (motion[start : start + PIECE] for start in range(0, len(motion), PIECE))
