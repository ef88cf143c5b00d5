"""Check and write the path of a result: an existing file is replaced by a complete one, or stays as it was."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from ..errors import MediaError
from ..utils.files import expanded, part_of

TRIAL = 4096  # bytes written to find out whether writing is possible
MIN_FREE = 16 * 2**20  # bytes that a disk must have left, which half a minute of a small video needs


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; it becomes ``path`` if the block succeeds, and is removed otherwise."""
    path = _usable(path)
    temporary = part_of(path)
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Check before a long computation that its result can be written, and make missing folders.

    Returns:
        The path, with its "~" expanded.

    Raises:
        MediaError: the path is a folder or no file, its name is too long, its folder cannot be made or written to, or the
            disk is full.
    """
    path = _usable(path)
    trial = part_of(path)
    try:
        # Only writing shows missing rights, full quotas and read-only file systems on every platform.
        trial.write_bytes(bytes(TRIAL))
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise MediaError(f"The folder {path.parent} cannot be written to: {error}") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
    if free < MIN_FREE:
        raise MediaError(
            f"The disk of the folder {path.parent} has only {free / 2**20:.0f} MiB left, and at least {MIN_FREE // 2**20} "
            "are needed: make room, or write somewhere else."
        )
    return path


def _usable(path: str | os.PathLike[str]) -> Path:
    """Return the path with its "~" expanded, and make its folder; refuse paths that no file can have."""
    path = expanded(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise MediaError(f"{path} is a folder: name a file.")
    if mode is not None and not stat.S_ISREG(mode):
        raise MediaError(f"{path} is no file, but a pipe, socket or device: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"The folder {path.parent} cannot be made: {error}") from error
    return path
