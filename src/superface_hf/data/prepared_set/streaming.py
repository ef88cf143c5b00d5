"""Stream the clips of a prepared set without end, for sets that do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SuperFaceError
from .reading import shards
from .records import PreparedClip


class ClipStream:
    """Streams a set's clips without end, shuffled, a few in memory; a stopped stream continues exactly.

    The order of the shards is drawn anew for each pass through the set, and clips within blocks of ``buffer`` clips that
    follow each other. Several readers (workers, processes) each take another ``seed``: they need not share out the clips.

    Args:
        source: a folder, or a dataset's id on the Hub.
        buffer: clips shuffled at once, which are held in memory (about 5 MB each).

    Raises:
        SuperFaceError: the set has no clips of this split, or cannot be opened.
    """

    def __init__(self, source: str | Path, split: str = "train", seed: int = 0, buffer: int = 16) -> None:
        if buffer < 1 or seed < 0:
            raise SuperFaceError(f"A clip stream needs buffer >= 1 and seed >= 0, not {buffer} and {seed}.")
        self.source, self.split, self.seed, self.buffer = str(source), split, seed, buffer
        self._data = _streamed(source, split)
        self._place = _Place()

    def __iter__(self) -> Iterator[PreparedClip]:
        """Yield clips from where the last iteration, or the loaded state, ended."""
        while True:
            rows = self._rows(self._place)
            while block := list(islice(rows, self.buffer)):
                place, (after, _) = self._place, block[-1]
                order = np.random.default_rng((self.seed, place.epoch, place.shard, place.row)).permutation(len(block))
                for taken in range(place.taken, len(block)):
                    self._place = _Place(place.epoch, place.shard, place.row, taken + 1)
                    yield PreparedClip.from_row(block[order[taken]][1])
                self._place = after
            if self._place == _Place(self._place.epoch):
                raise SuperFaceError(f"The set {self.source} has no clips of the split {self.split}.")
            self._place = _Place(self._place.epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """Return the stream's position, as JSON can hold it."""
        return {**asdict(self._place), "shards": self._data.num_shards, "seed": self.seed, "buffer": self.buffer}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue with the clip that would have come after :meth:`state_dict`.

        Raises:
            SuperFaceError: the state is of a stream over other shards, or with another seed or buffer.
        """
        own = self.state_dict()
        for key in ("shards", "seed", "buffer"):
            if state[key] != own[key]:
                raise SuperFaceError(
                    f"A clip stream cannot continue from this state: {key} was {state[key]}, but is {own[key]}."
                )
        self._place = _Place(state["epoch"], state["shard"], state["row"], state["taken"])

    def _rows(self, place: _Place) -> Iterator[tuple[_Place, dict[str, Any]]]:
        """Yield the rows of this pass from ``place`` on, each with the place after it."""
        count = self._data.num_shards
        order = np.random.default_rng((self.seed, place.epoch)).permutation(count)
        for position in range(place.shard, count):
            skipped = place.row if position == place.shard else 0
            shard = self._data.shard(count, int(order[position]))
            # Plain iteration would share out the files among a loader's workers, each of which reads all of them here.
            rows = (shard.skip(skipped) if skipped else shard).iter(batch_size=1)
            for number, row in enumerate(rows, skipped):
                yield _Place(place.epoch, position, number + 1), {name: values[0] for name, values in row.items()}


@dataclass(frozen=True)
class _Place:
    """A block starts at row ``row`` of the ``shard``-th shard of the pass ``epoch``; ``taken`` clips of it are out."""

    epoch: int = 0
    shard: int = 0
    row: int = 0
    taken: int = 0


def _streamed(source: str | Path, split: str) -> Any:
    """Return the rows of a split as a ``datasets.IterableDataset``."""
    import datasets

    try:
        if Path(source).is_dir():
            files = [str(path) for path in shards(Path(source), split)]
            if not files:
                raise SuperFaceError(f"The set {source} has no clips of the split {split}.")
            return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        files = f"{split}-*.parquet"  # type: ignore[assignment]
        return datasets.load_dataset(str(source), data_files={split: files}, split=split, streaming=True)
    except (OSError, ValueError) as error:
        raise SuperFaceError(f"The prepared set {source} cannot be opened: {error}") from error
