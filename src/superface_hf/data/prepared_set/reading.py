"""Read the clips and portraits of a prepared set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ...errors import SuperFaceError
from .records import CLIP_SCHEMA, POINTS, PORTRAITS, SCORES, Portraits, PreparedClip, unpacked


def load_clips(prepared: Path, split: str, pictures: bool = True) -> Iterator[PreparedClip]:
    """Yield the prepared clips of one split, in name order; without ``pictures`` this is much faster.

    Raises:
        SuperFaceError: the folder holds no prepared set.
    """
    columns = [name for name in CLIP_SCHEMA.names if pictures or name != "jpegs"]
    places = []
    for path in shards(prepared, split):
        names = pq.read_table(path, columns=["name"])["name"].to_pylist()
        places += [(name, path, number) for number, name in enumerate(names)]
    for _, path, number in sorted(places):
        with pq.ParquetFile(path) as file:
            (row,) = file.read_row_group(number, columns=columns).to_pylist()
        yield PreparedClip.from_row(row)


def load_portraits(prepared: Path, collection: str | None = None) -> Portraits:
    """Return the portraits of one collection (the name of its source, such as ``portraits_large``), or of all.

    Raises:
        SuperFaceError: the folder holds no prepared set, or no such collection.
    """
    wanted = None if collection is None else [("collection", "=", collection)]
    tables = [pq.read_table(path, filters=wanted) for path in shards(prepared, PORTRAITS)]
    rows = [row for table in tables for row in table.to_pylist()]
    if not rows:
        which = "portraits" if collection is None else f"portraits called {collection}"
        raise SuperFaceError(f"{prepared} holds no {which}: add them with `superface prepare --portraits`.")
    rows.sort(key=lambda row: (row["collection"], row["number"]))
    scores = [row["blendshapes"] for row in rows if row["faces"]]
    return Portraits(
        jpegs=[row["jpeg"] for row in rows],
        picture_of=np.repeat(np.arange(len(rows)), [row["faces"] for row in rows]),
        landmarks=unpacked(b"".join(row["landmarks"] for row in rows), np.float32, POINTS, 3),
        blendshapes=None if None in scores else unpacked(b"".join(scores), np.float32, SCORES),
    )


def known_scores(blendshapes: np.ndarray | None) -> np.ndarray:
    """Return the blendshapes, for code that needs them.

    Raises:
        SuperFaceError: the set has none.
    """
    if blendshapes is None:
        raise SuperFaceError(
            "This set has no blendshapes: prepare it with `superface prepare --labels mediapipe --landmarker FILE`."
        )
    return blendshapes


def shards(prepared: Path, split: str) -> list[Path]:
    """Return the parquet files of a split, or of the portraits.

    Raises:
        SuperFaceError: the folder holds no prepared set.
    """
    prepared = Path(prepared)
    if not any(prepared.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet")):
        raise SuperFaceError(f"{prepared} holds no prepared set: make one with `superface prepare`.")
    return sorted(prepared.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].parquet"))
