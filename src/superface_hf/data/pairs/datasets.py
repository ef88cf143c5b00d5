"""The datasets of pairs that renderers are trained with: from a set in memory, and from a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset, IterableDataset

from ..prepared_set import PreparedClip, load_clips
from .drawing import Pair, PairDrawer, PairSampling, SamplingError
from .footage import FEWEST_PICTURES, Footage, person_weights, usable
from .masking import MaskingConfig
from .still import StillPairs


class ReenactmentPairs(Dataset[Pair]):
    """Pairs from a prepared set that fits into memory.

    Item i is always the same pair for the same seed, so that a resumed training continues where it stopped. Each item:
    ``source``, ``target`` (3, S, S) uint8; ``source_landmarks``, ``target_landmarks`` (478, 3) in image coordinates;
    ``sharp`` a bool, whether the footage has the full resolution; ``known`` (1, S / 8, S / 8) in [0, 1], where the target
    is a picture of what drives (see ``masking``); ``follows`` a bool, whether source and all else are those of the item
    before, and the target is the next frame (only ever true of odd items: batches of even sizes keep such twos together).
    """

    def __init__(
        self,
        prepared: Path,
        length: int,
        seed: int = 0,
        sampling: PairSampling | None = None,
        stills: StillPairs | None = None,
        masking: MaskingConfig | None = None,
    ) -> None:
        self.drawer = PairDrawer(sampling or PairSampling(), masking or MaskingConfig(), stills)
        self.length, self.seed = length, seed
        self.clips = [Footage(clip) for clip in load_clips(Path(prepared), "train") if usable(clip)]
        if not self.clips:
            raise SamplingError(f"{prepared} holds no training clip with at least {FEWEST_PICTURES} pictures.")
        self.weights = person_weights(self.clips, self.drawer.sampling.person_balance)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        return self.drawer.item(self.clips, self.weights, index, self.seed)


class Stream(Protocol):
    """An endless stream of clips, such as ``prepared_set.ClipStream``."""

    def __iter__(self) -> Iterator[PreparedClip]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class StreamedPairs(IterableDataset[Pair]):
    """The items of :class:`ReenactmentPairs`, endlessly, from a set that need not fit into memory.

    Pairs are drawn from a pool of clips, the newest ``pool`` ones of a stream. After every ``renewal`` items the oldest makes
    room for the next. Several readers (workers, processes) each need their own stream and seed.

    Args:
        stream: usually a ``ClipStream``.
        pool: clips held in memory (about 3 MB each).
        renewal: items drawn for each new clip: more repeat clips more often, fewer read more.
    """

    def __init__(
        self,
        stream: Stream,
        seed: int = 0,
        sampling: PairSampling | None = None,
        stills: StillPairs | None = None,
        masking: MaskingConfig | None = None,
        pool: int = 64,
        renewal: int = 16,
    ) -> None:
        if pool < 1 or renewal < 2:
            raise SamplingError(f"A pool needs at least 1 clip and 2 items for each, not {pool} and {renewal}.")
        self.drawer = PairDrawer(sampling or PairSampling(), masking or MaskingConfig(), stills)
        self.stream, self.seed, self.pool, self.renewal = stream, seed, pool, renewal
        self._index = 0
        self._pooled: deque[Footage] = deque(maxlen=pool)
        self._states: deque[dict[str, Any]] = deque(maxlen=pool)  # of the stream before each clip of the pool
        self._read = 0
        self._clips: Iterator[PreparedClip] | None = None

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs from where the last iteration, or the loaded state, ended."""
        while True:
            self._fill(self.pool + (self._index - self._index % 2) // self.renewal)
            weights = person_weights(self._pooled, self.drawer.sampling.person_balance)
            item = self.drawer.item(self._pooled, weights, self._index, self.seed)
            self._index += 1
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as JSON can hold it, from which :meth:`load_state_dict` continues with the same next items."""
        return {
            "index": self._index,
            "read": self._read - len(self._pooled),
            "stream": self._states[0] if self._states else self.stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Read the clips of the pool again when it is next iterated."""
        self.stream.load_state_dict(state["stream"])
        self._index, self._read, self._clips = state["index"], state["read"], None
        self._pooled.clear()
        self._states.clear()

    def _fill(self, wanted: int) -> None:
        """Read until ``wanted`` clips have been read since the start."""
        if self._clips is None:
            self._clips = iter(self.stream)
        while self._read < wanted:
            state = self.stream.state_dict()
            clip = next(self._clips)
            if usable(clip):
                self._states.append(state)
                self._pooled.append(Footage(clip))
                self._read += 1
