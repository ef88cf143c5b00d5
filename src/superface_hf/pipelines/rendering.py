"""Frames on their way out: one by one, with what is known beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError
from ..layers.portrait import cut_out, to_uint8
from ..media import SoundReader
from ..motion import Motion
from ..renderers.base import ReadyPortrait, Renderer
from ..renderers.threads import in_order, on_one_thread
from .request import Request


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


def render(
    renderer: Renderer,
    ready: ReadyPortrait,
    pieces: Iterator[Tensor],
    fps: float,
    request: Request,
    size: int,
    device: torch.device,
    streaming: bool,
) -> Iterator[np.ndarray]:
    """Renders what is asked for of ``pieces`` (n, 478, 3) of landmarks, frame by frame.

    Args:
        size: frames rendered at once.
        streaming: frames go to somebody who waits for each: what is known is rendered at once, and nothing else awaited.
    """
    behind = None
    if request.behind is not None and not request.transparent:
        behind = request.behind.frames(ready.plate, fps)

    def work(batch: tuple[Tensor, list[np.ndarray] | None]) -> list[np.ndarray]:
        landmarks, scenes = batch
        with seeded(request.seed, device):
            frames = ready.frames(landmarks, scenes, request.transparent)
        if request.paste_back:
            return frames
        crop = ready.portrait.crop
        return [to_uint8(cut_out(frame, crop, renderer.image_size))[0] for frame in frames]

    def with_behind(batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, list[np.ndarray] | None]]:
        for batch in batches:
            yield batch, None if behind is None else list(islice(behind, len(batch)))

    at_once = (piece.split(size) for piece in pieces)
    groups = at_once if streaming else [batched(pieces, size)]
    threads = renderer.side_by_side
    frames = (frame for batch in in_order(work, map(with_behind, groups), threads) for frame in batch)
    return on_one_thread(frames) if streaming and threads > 1 else frames


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
    """Whatever is random inside follows from the seed; afterwards torch's random numbers go on as if nothing had been.

    Nothing may be yielded from inside: torch's random numbers belong to the whole process.
    """
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
