"""Find out which rows are finished: by the content of their inputs and of their clips, not by names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import MediaError
from ..utils.files import write_text
from ..version import __version__
from .columns import PLACES

NOTES = ".batch"  # the folder of notes within a batch's folder
MOST_ATTEMPTS = 3  # processes that may die over a row


def key_of(values: Mapping[str, Any]) -> str:
    """Return a row's identity: its options, the content of the files that it names, and the version of the package."""
    digest = hashlib.sha256(__version__.encode())
    for name in sorted(values):
        digest.update(f"\0{name}\0".encode())
        path = Path(str(values[name])) if name in PLACES else None
        if path is not None and _exists(path):
            digest.update(content_of(path).encode())
        else:
            digest.update(json.dumps(values[name], sort_keys=True).encode())
    return digest.hexdigest()[:32]


def content_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files and their names."""
    if path.is_file():
        about = path.stat()
        return _digest(path, about.st_size, about.st_mtime_ns)
    digest = hashlib.sha256()
    for each in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(f"{each.relative_to(path).as_posix()}\0{content_of(each)}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file of this size and time of its last change: many rows name the same photo or model."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Notes:
    """What is noted about rows beside their clips, one file a row, so that many processes can write them.

    Args:
        folder: the batch's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._clips = folder / NOTES, folder

    def finished(self, key: str) -> dict[str, Any] | None:
        """Return what was noted when the row was finished; None where it was not, or its clip is no longer what it was."""
        try:
            note = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            return note if content_of(self._clips / note["file"]) == note["content"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, key: str, file: str, frames: int, seconds: float) -> None:
        """Note that the row is done. The clip is there already."""
        content = content_of(self._clips / file)
        note = {"file": file, "content": content, "frames": frames, "seconds": seconds}
        write_text(self._folder / f"{key}.json", json.dumps(note))

    def attempt(self, key: str) -> None:
        """Note that this process begins; :meth:`leave` has to follow.

        Raises:
            MediaError: the processes of so many that began before have died over it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._begun(key), "a+", encoding="utf-8") as file:
            file.seek(0)
            if len(file.readlines()) >= MOST_ATTEMPTS:
                raise MediaError(f"The process that rendered this row died {MOST_ATTEMPTS} times: is memory too small?")
            file.write(f"{os.getpid()}\n")

    def leave(self, key: str) -> None:
        """Note that the process is still alive, whether the row succeeded or failed."""
        self._begun(key).unlink(missing_ok=True)

    def forget_attempts(self) -> None:
        """Forget the attempts of earlier runs."""
        for path in self._folder.glob("*.begun"):
            path.unlink(missing_ok=True)

    def _begun(self, key: str) -> Path:
        return self._folder / f"{key}.begun"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name that a file can have
        return False
