"""The sound under parts of a video, and the sync expert that judges it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...media import SPEECH_RATE, SoundReader

if TYPE_CHECKING:
    from ...models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel


@lru_cache(maxsize=1)
def sync_expert() -> SuperFaceSyncExpertModel:
    """Return the embedded sync expert, loaded once in each process."""
    from ...models.embedded import embedded_sync_expert

    return embedded_sync_expert()


class SoundTrack:
    """Gives parts of a sound, mono at 16 kHz, one after the other; what lies before them is not kept in memory."""

    def __init__(self, sound: SoundReader) -> None:
        self._blocks = sound.mono(SPEECH_RATE)
        self._block, self._position = np.zeros(0, np.float32), 0

    def between(self, start: float, stop: float) -> np.ndarray:
        """Return the samples (N,) from ``start`` to ``stop`` seconds; no part may start before the last one ended."""
        first, last = round(start * SPEECH_RATE), round(stop * SPEECH_RATE)
        parts = []
        while True:
            parts.append(self._block[max(0, first - self._position) : max(0, last - self._position)])
            if self._position + len(self._block) >= last:
                break
            block = next(self._blocks, None)
            if block is None:
                break
            self._position += len(self._block)
            self._block = block
        return np.concatenate(parts)
