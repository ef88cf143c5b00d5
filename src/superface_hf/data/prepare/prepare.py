"""Turn raw videos and portraits into a prepared set (see ``prepared_set``); ``superface prepare`` calls it.

Each raw video is one piece of work (``workers``), whose clips go into a file of their own in ``OUT/.parts``. When there are
enough, they are packed into a shard, the manifest names the shard, and the parts are deleted (``store``). So a run that was
stopped continues with the raw videos that neither the manifest nor a part names.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .labels import LabelSource
from .settings import PrepareSettings
from .store import RawPiece, SetStore
from .workers import finished_parts


def prepare(
    out: Path,
    pieces: Iterable[RawPiece],
    settings: PrepareSettings,
    labels: LabelSource,
    source: str = "",
    workers: int = 1,
    total: int | None = None,
) -> dict[str, Any]:
    """Prepare what is not prepared yet, and return the manifest.

    Args:
        out: folder of the set; a set of an earlier run with the same settings is continued.
        source: what the manifest calls the source.
        workers: processes; 1 works in this one.
        total: how many pieces there are, if that is known.

    Raises:
        SuperFaceError: the folder holds a set made with other settings, or cannot be written.
    """
    store = SetStore.open(out, settings, labels, source)
    with tqdm(desc="preparing", total=total, initial=len(store.raw), unit="file") as bar:
        wanted = (piece for piece in pieces if piece.key not in store.raw)
        for part in finished_parts(wanted, store.parts, settings, labels, workers):
            store.add(part)
            bar.update()
    return store.close()
