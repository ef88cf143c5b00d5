"""Open a caller's input (a path, a URL, bytes, an open file) as one seekable binary file."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import IO, Any

from ..errors import MediaError
from ..utils.files import expanded
from .download import download, is_url

# A name longer than any path is data by mistake, such as a data URL; messages show its beginning.
LONGEST_NAME, SHOWN = 4096, 60


def describe(source: object) -> str:
    """Return the name of an input for error messages: one short line, whatever was given as a path."""
    if isinstance(source, (str, os.PathLike)):
        name = str(source)
        return name if len(name) <= LONGEST_NAME else f"{name[:SHOWN]}… ({len(name)} characters)"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the given {len(source)} bytes"
    if name := getattr(source, "filename", ""):  # of a picture that Pillow opened
        return str(name)
    return f"the given {type(source).__name__}"


def open_source(source: Any, kind: str) -> IO[bytes]:
    """Open a path, an http(s) URL, bytes or a binary file for reading.

    Args:
        kind: what is expected, for messages: "picture", "video", "sound".

    Raises:
        MediaError: it does not exist, is empty, cannot be read or fetched, or has an unsupported type.
    """
    if is_url(source):
        file = download(source, kind)
    elif isinstance(source, (str, os.PathLike)):
        file = _open_path(Path(source), kind)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        file = io.BytesIO(bytes(source))
    elif hasattr(source, "read") and hasattr(source, "seek"):
        file = source
    else:
        raise MediaError(
            f"A {kind} cannot be read from {describe(source)}: pass a path, a URL, bytes or an array (see the documentation)."
        )
    if file.seek(0, os.SEEK_END) == 0:
        raise MediaError(f"The {kind} {describe(source)} is empty (0 bytes).")
    file.seek(0)
    return file


class View:
    """A read position on a shared file, so that two readers can use one open file (in one thread).

    It has no ``name`` attribute, from which FFmpeg could guess a format. After ``deadline``, if there is one, reading fails.
    """

    def __init__(self, file: IO[bytes], deadline: float | None = None) -> None:
        self._file, self._position, self.deadline = file, 0, deadline

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the file open: it belongs to the caller."""

    def read(self, size: int = -1) -> bytes:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = offset + self._position, os.SEEK_SET
        self._file.seek(offset, whence)
        self._position = self._file.tell()
        return self._position

    def tell(self) -> int:
        return self._position


def _open_path(path: Path, kind: str) -> IO[bytes]:
    try:
        path = expanded(path)
        # Reading a pipe or a device may never end.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise MediaError(f"{path} is not a file to read a {kind} from, but a pipe, socket or device.")
        return path.open("rb")
    except FileNotFoundError:
        raise MediaError(f"There is no file {path} to read a {kind} from.") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder, not a {kind}.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"The {kind} {describe(path)} cannot be opened: {why}") from error
