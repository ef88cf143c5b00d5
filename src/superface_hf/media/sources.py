"""Opens what a caller names (a path, a URL, bytes, an open file) as one seekable binary file."""

from __future__ import annotations

import io
import os
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from ..errors import MediaError

URL_TIMEOUT = 20.0  # seconds of silence after which a server is given up
MAX_DOWNLOAD = 512 * 2**20  # bytes
CHUNK = 2**20
IN_MEMORY = 16 * 2**20  # a larger download goes to a temporary file


def is_url(source: object) -> bool:
    """Whether ``source`` is an http or https address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def describe(source: object) -> str:
    """How an error message names an input."""
    if isinstance(source, (str, os.PathLike)):
        return str(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the given {len(source)} bytes"
    if name := getattr(source, "filename", ""):  # of a picture that Pillow opened
        return str(name)
    return f"the given {type(source).__name__}"


def open_source(source: Any, kind: str) -> IO[bytes]:
    """Opens a path, an http(s) URL, bytes or a binary file for reading.

    Args:
        kind: what is expected, for messages: "picture", "video", "sound".

    Raises:
        MediaError: it does not exist, is empty, cannot be read or fetched, or has an unsupported type.
    """
    if is_url(source):
        file = _download(source, kind)
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
    """A file's bytes with a position of its own, so that two readers can share one open file (in one thread)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._position = file, 0

    def read(self, size: int = -1) -> bytes:
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
        return path.expanduser().open("rb")
    except FileNotFoundError:
        raise MediaError(f"There is no file {path} to read a {kind} from.") from None
    except IsADirectoryError:
        raise MediaError(f"{path} is a folder, not a {kind}.") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"The {kind} {path} cannot be opened: {error}") from error


def _download(url: str, kind: str) -> IO[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "superface-hf"})
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller reads it
    received = 0
    try:
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT) as response:
            while chunk := response.read(CHUNK):
                received += len(chunk)
                if received > MAX_DOWNLOAD:
                    raise MediaError(
                        f"The {kind} at {url} is larger than {MAX_DOWNLOAD // 2**20} MB: download it, and pass its path."
                    )
                file.write(chunk)
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        raise MediaError(f"The {kind} at {url} cannot be fetched: {error}") from error
    return file
