"""The batches of a teacher's training: the same pairs at the same step, however it was stopped and however it is shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers.utils import logging

from ...data.pairs.datasets import ReenactmentPairs, StreamedPairs
from ...data.pairs.drawing import Pair
from ...data.pairs.still import StillPairs
from ...data.prepared_set import ClipStream
from ...errors import SuperFaceError
from .config import TeacherTrainingConfig

logger = logging.get_logger(__name__)


class BatchParts:
    """For each step, this process's parts of the batch, joined into one :class:`Pair` each.

    A set in memory needs no place to continue from: pairs are numbered, step s takes those from s * batch_size on, and the
    parts of the processes follow each other. A stream has a place.

    Args:
        image_size: side of the pictures in pixels.
        steps: from the next one to the last.
        places: ``place`` of every process at the next step.

    Attributes:
        place: where this process's stream is after the step that was given out last; None for a set in memory.
    """

    def __init__(
        self, config: TeacherTrainingConfig, image_size: int, accelerator: Accelerator, steps: range,
        places: list[Any],
    ) -> None:  # fmt: skip
        self.steps, self.accumulation = steps, config.run.accumulation
        self.place: dict[str, Any] | None = None
        workers = config.data.workers
        options: dict[str, Any] = {"num_workers": workers, "pin_memory": accelerator.device.type == "cuda"}
        if workers:
            options.update(prefetch_factor=4, persistent_workers=True)
        self.loader: DataLoader[Any]
        size = config.micro_batch(accelerator.num_processes)
        rank, processes = accelerator.process_index, accelerator.num_processes
        if config.data.streaming:
            self.place = _place(places, rank, processes, max(workers, 1))
            stream = _StreamedParts(config, image_size, size, rank, self.place)
            self.loader = DataLoader(stream, batch_size=None, **options)
        else:
            pairs = pairs_in_memory(config, image_size)
            numbers = _PartNumbers(config.run.batch_size, size, self.accumulation, rank, steps)
            self.loader = DataLoader(pairs, batch_sampler=numbers, collate_fn=Pair.collate, **options)

    def __iter__(self) -> Iterator[list[Pair]]:
        parts: list[Pair] = []
        left = len(self.steps)
        if not left:
            return
        for item in self.loader:
            parts.append(self._received(item))
            if len(parts) == self.accumulation:
                yield parts
                parts, left = [], left - 1
                if not left:
                    return

    def _received(self, item: Any) -> Pair:
        if self.place is None:
            return item
        worker, state, part = item
        workers = list(self.place["workers"])
        workers[worker] = state
        self.place = {"given": self.place["given"] + 1, "workers": workers}
        return part


def pairs_in_memory(config: TeacherTrainingConfig, image_size: int) -> ReenactmentPairs:
    prepared = Path(config.data.prepared)
    if not prepared.is_dir():
        raise SuperFaceError(
            f"data.prepared={prepared} is no folder: make one with `superface prepare`, or read a set from the Hub with "
            f"data.streaming=true."
        )
    sampling = replace(config.data.sampling, image_size=image_size)
    stills = StillPairs(prepared) if sampling.stills else None
    length = config.schedule.steps * config.run.batch_size
    return ReenactmentPairs(prepared, length, config.run.seed, sampling, stills, config.data.masking)


class _PartNumbers:
    """The numbers of the pairs of each part that a process takes, in order."""

    def __init__(self, batch_size: int, size: int, accumulation: int, rank: int, steps: range) -> None:
        self.batch_size, self.size, self.accumulation, self.rank, self.steps = (
            batch_size,
            size,
            accumulation,
            rank,
            steps,
        )

    def __len__(self) -> int:
        return len(self.steps) * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = step * self.batch_size + self.rank * self.accumulation * self.size
            for part in range(self.accumulation):
                yield list(range(first + part * self.size, first + (part + 1) * self.size))


class _StreamedParts(IterableDataset[tuple[int, dict[str, Any], Pair]]):
    """Parts of batches from a stream of each worker, with the worker's number and where its stream is after the part.

    Args:
        place: where to go on, as :attr:`BatchParts.place`.
    """

    def __init__(
        self, config: TeacherTrainingConfig, image_size: int, size: int, rank: int, place: dict[str, Any]
    ) -> None:
        self.config, self.image_size, self.size, self.rank, self.place = config, image_size, size, rank, place

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any], Pair]]:
        info, states = get_worker_info(), self.place["workers"]
        # The loader asks its workers in turn, beginning with the first; the training continues with the one whose turn it was.
        worker = ((0 if info is None else info.id) + self.place["given"]) % len(states)
        pairs = streamed_pairs(self.config, self.image_size, self.rank * len(states) + worker)
        if states[worker] is not None:
            pairs.load_state_dict(states[worker])
        items = iter(pairs)
        while True:
            part = Pair.collate([next(items) for _ in range(self.size)])
            yield worker, pairs.state_dict(), part


def streamed_pairs(config: TeacherTrainingConfig, image_size: int, reader: int) -> StreamedPairs:
    """Return the pairs of one of the readers: each has its own order of clips, and its own draws."""
    data = config.data
    sampling = replace(data.sampling, image_size=image_size)
    if sampling.stills and not Path(data.prepared).is_dir():
        raise SuperFaceError(
            f"data.sampling.stills={sampling.stills:g} needs portraits in a folder, and {data.prepared} is none: set it to 0."
        )
    stills = StillPairs(Path(data.prepared)) if sampling.stills else None
    seed = int(np.random.SeedSequence((config.run.seed, reader)).generate_state(1)[0])
    stream = ClipStream(data.prepared, "train", seed)
    return StreamedPairs(stream, seed, sampling, stills, data.masking, pool=data.pool)


def _place(places: list[Any], rank: int, processes: int, workers: int) -> dict[str, Any]:
    """Return the place at which this process's stream resumes; the start if other readers wrote the checkpoint."""
    place = places[rank] if len(places) == processes else None
    if place is not None and len(place["workers"]) == workers:
        return place
    if any(places):
        logger.warning(
            "The checkpoint was written with another number of processes or data.workers: the stream begins anew."
        )
    return {"given": 0, "workers": [None] * workers}
