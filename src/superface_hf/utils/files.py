"""Atomic files and folder locks: readers see a complete file or none, and one process at a time writes into a
folder."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import MediaError, SuperFaceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

LOCK = ".lock"
# Names of temporary files. Their writer removes them unless it is killed; one that is a day old has no writer any more.
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part(\.\w+)?")
ABANDONED = 24 * 3600  # seconds
LONGEST_NAME = 255  # bytes of a file's name, on all common file systems

_held: dict[Path, IO[bytes]] = {}


def part_of(path: Path) -> Path:
    """Return a temporary name beside ``path``, and remove temporary files in that folder that are older than a day."""
    sweep(path.parent)
    ending = f".{secrets.token_hex(4)}.part{path.suffix}"
    # The temporary name must not be longer than the file system allows.
    stem = os.fsencode(path.stem)[: max(1, LONGEST_NAME - 1 - len(os.fsencode(ending)))].decode(errors="ignore")
    return path.with_name(f".{stem}{ending}")


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with its "~" expanded.

    Raises:
        MediaError: it names the home of an unknown user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise MediaError(f"There is no such path as {path}: {error}") from error


@lru_cache(maxsize=64)
def sweep(folder: Path) -> None:
    """Remove temporary files that killed runs left in a folder more than a day ago; each process looks once a
    folder."""
    try:
        for path in folder.iterdir():
            if _PART.fullmatch(path.name) and path.is_file() and time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)
    except OSError:
        return  # without permission there is nothing to clean; writing will raise the error


def remove_parts(folder: Path) -> None:
    """Remove half-written files in a folder and those below. Only the holder of the folder may, while nobody writes."""
    for path in folder.rglob(".*.part*"):
        if _PART.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, and make its folder.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = part_of(path)
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically, with the file mode that the umask gives.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.torch import save_file

    temporary = part_of(path)
    try:
        save_file(dict(tensors), temporary, dict(metadata or {}))
        follow_umask(path.parent, [temporary])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], compressed: bool = False) -> None:
    """Write an ``.npz`` file atomically, and make its folder.

    Raises:
        OSError: it cannot be written.
    """
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = part_of(path)
    save = np.savez_compressed if compressed else np.savez
    try:
        save(temporary, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def follow_umask(folder: Path, files: list[Path] | None = None) -> None:
    """Set the file mode of weights to that of any new file in the folder; safetensors makes them readable for their
    owner alone.

    Args:
        files: by default all safetensors files in the folder.
    """
    probe = part_of(folder / "mode")
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*.safetensors") if files is None else files:
        path.chmod(mode)


def hold(folder: Path, what: str) -> None:
    """Lock a folder for this process until it ends: two processes that write there would overwrite each other's work.

    Args:
        what: the work that is done there, for the error message of other processes.

    Raises:
        SuperFaceError: another process holds it, or it cannot be written to.
    """
    path = folder.absolute() / LOCK
    if path in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 - it is held open
    except (OSError, ValueError) as error:  # ValueError: no name that a folder can have
        raise SuperFaceError(f"The folder {folder} cannot be written to: {error}") from error
    try:
        _lock(file)
    except OSError as error:
        file.close()
        raise SuperFaceError(
            f"Another process is at work in {folder} ({what}): wait until it is done, or choose another folder."
        ) from error
    _held[path] = file


def _lock(file: IO[bytes]) -> None:
    """Lock a file for this process. The operating system releases the lock when the process ends, however it ends."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
