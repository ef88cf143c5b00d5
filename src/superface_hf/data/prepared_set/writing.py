"""Write the shards of a prepared set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...media import replacing
from .records import CLIP_SCHEMA, PORTRAIT_SCHEMA, PORTRAITS, Portraits, PreparedClip, portrait_rows


def shard_path(prepared: Path, split: str, number: int) -> Path:
    return Path(prepared) / f"{split}-{number:05d}.parquet"


def write_clips(prepared: Path, split: str, clips: Iterable[PreparedClip], number: int = 0) -> Path:
    """Write one shard of clips; it appears complete or not at all."""
    path = shard_path(prepared, split, number)
    write_rows(path, CLIP_SCHEMA, (clip.to_row() for clip in clips))
    return path


def write_portraits(prepared: Path, collection: str, portraits: Portraits, number: int = 0) -> Path:
    """Write one shard of portraits."""
    path = shard_path(prepared, PORTRAITS, number)
    write_rows(path, PORTRAIT_SCHEMA, portrait_rows(collection, portraits))
    return path


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write a parquet file whose row groups are single rows, so that a reader holds one at a time, and return their number."""
    count = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema))
            count += 1
    return count
