"""Name files of a cache after everything that their content depends on, so that other data never finds old files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np


def digest(*facts: Any) -> str:
    """Return twelve characters that stand for arrays, by their numbers, and other facts, by how they print."""
    total = hashlib.sha256()
    for fact in facts:
        if isinstance(fact, np.ndarray):
            total.update(repr((fact.shape, fact.dtype.str)).encode())
            total.update(np.ascontiguousarray(fact).tobytes())
        else:
            total.update(repr(fact).encode())
    return total.hexdigest()[:12]


def cached(folder: Path, name: str, prepared: Path, *facts: Any) -> Path:
    """Return the path of a file of a cache, named after everything that its content depends on, and make its folder.

    Args:
        name: how the file's name begins, and its ending.
        prepared: the prepared set that it is made of: its path, and the sizes and times of its files count.
        facts: settings.
    """
    files = sorted(path for path in prepared.rglob("*") if path.is_file())
    listed = [(str(path.relative_to(prepared)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    folder.mkdir(parents=True, exist_ok=True)
    stem, _, ending = name.rpartition(".")
    return folder / f"{stem}_{digest(str(prepared.resolve()), listed, facts)}.{ending}"
