"""The ``Driver`` protocol: an object that gives ``Motion``, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ..animation.rest import Rest
from ..media import SoundReader
from ..motion import Motion

PIECE = 64  # frames of a known motion in one piece


@dataclass(frozen=True, eq=False)
class Piece:
    """Some frames of driving motion.

    Attributes:
        motion: T frames at the driver's rate. None is one frame before the driving person has been seen.
        mouth: (T, M) the mouth of speech, absolute; None takes the mouth of ``motion``.
        rest: the rest pose of the driving person, from which changes are measured; None is the driver's first frame.
    """

    motion: Motion | None
    mouth: np.ndarray | None = None
    rest: Rest | None = None

    def __len__(self) -> int:
        return 1 if self.motion is None else len(self.motion)


@runtime_checkable
class Driver(Protocol):
    """Gives motion to a portrait. Pass one as ``motion=`` to the pipeline; it may be defined outside of this package.

    Attributes:
        fps: frames a second of all pieces.
        frames: the approximate number of frames, or None if it is unknown.
        sound: the sound of the clip, or None.
        missing: indices of the frames in which no face was found, if all frames were tracked in advance; else empty.
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
        """Yield all of the motion from its beginning. A driver of a live source can be iterated only once."""
        ...


def split(motion: Motion) -> Iterator[Motion]:
    """Return a known motion in parts of ``PIECE`` frames, each retargeted at once."""
    return (motion[start : start + PIECE] for start in range(0, len(motion), PIECE))
