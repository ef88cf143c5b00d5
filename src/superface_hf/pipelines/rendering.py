"""Frames on their way out: one by one, with what is known beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..animation.faces import FaceChoice
from ..errors import MediaError
from ..layers.background import Background
from ..media import SoundReader, Work
from ..motion import Motion


@dataclass(frozen=True)
class Options:
    """How each picture of a call is to be rendered; see :meth:`TalkingFacePipeline.__call__`.

    Attributes:
        work: what the call has done so far, against its limit.
        background: what is shown behind the person; None shows what the picture does.
        streaming: frames go to somebody who waits for each: whatever is known is rendered at once, nothing is kept.
        live: what drives them comes as it happens: all is made ready before the first of it is asked for.
    """

    face: FaceChoice
    paste_back: bool
    batch_size: int
    progress: bool | None
    seed: int | None
    work: Work
    background: Background | None = None
    streaming: bool = False
    live: bool = False

    def record(self) -> MutableSequence[Motion]:
        """For the motions that are rendered: a stream that lasts for hours must not keep them all."""
        return deque(maxlen=1) if self.streaming else []


@dataclass(frozen=True, eq=False)
class Rendering:
    """Frames that come one by one.

    Attributes:
        fps: their rate.
        frames: (H, W, 3) uint8 each; (H, W, 4) where they are transparent.
        motions: what the frames show; filled as they come. Of a stream only the last one.
        missing: frames without a face; complete when all frames have come.
        total: about how many frames there will be, where it is known.
        sound: goes with them, to be cut, or followed by silence, to their length.
    """

    fps: float
    frames: Iterator[np.ndarray]
    motions: MutableSequence[Motion]
    missing: list[int]
    total: int | None = None
    sound: SoundReader | None = None

    def collected(self, frames: Iterator[np.ndarray]) -> np.ndarray:
        """``self.frames``, passed through anything that counts them, as (T, H, W, C).

        Raises:
            MediaError: they do not fit into memory.
        """
        first = next(frames)
        collected, count = _room(self.total or 1, first.shape), 1
        collected[0] = first
        for frame in frames:
            if count == len(collected):
                collected = np.concatenate([collected, _room(len(collected), first.shape)])
            collected[count] = frame
            count += 1
        return collected[:count]


def batched(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """(n, ...) of any n -> (size, ...), the last one what is left; each as soon as it is complete."""
    waiting = torch.empty(0)
    for piece in pieces:
        waiting = torch.cat([waiting, piece]) if len(waiting) else piece
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if len(waiting):
        yield waiting


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Whatever is random inside follows from the seed; outside, torch's random numbers go on as if nothing had been."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _room(frames: int, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty((frames, *shape), np.uint8)
    except MemoryError:
        raise MediaError(
            f"{frames} frames of {shape[1]} x {shape[0]} pixels do not fit into memory: use stream() or write()."
        ) from None
