"""The visitors' files: one private folder of the running server, and which session may use which file.

The folder is deleted when the server stops; a server that starts deletes those of servers that were killed.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: leftovers of a killed server stay there
    fcntl = None  # type: ignore[assignment]

PREFIX, LOCK = "superface-space-", ".lock"
# gradio writes its files into the folder that this environment variable names.
FOLDER_OF_GRADIO = "GRADIO_TEMP_DIR"


@dataclass
class _Kept:
    """What the store knows about a file.

    Attributes:
        upload: whether a visitor uploaded it; otherwise it is a result.
        size: bytes.
        sessions: the sessions that may use it. An upload that was never used belongs to the first session that names it: names
            are random.
    """

    upload: bool
    size: int
    sessions: set[str] = field(default_factory=set)


class Store:
    """A server's folder for uploads and results. Threads may share it.

    Args:
        base: where the folder is made; by default gradio's own setting, else the system's temporary folder.

    Attributes:
        folder: the folder.
        stopping: set when the server stops, so that running jobs end at their next frame.
    """

    def __init__(self, base: Path | None = None) -> None:
        self._before = os.environ.get(FOLDER_OF_GRADIO)
        base = base or Path(self._before or tempfile.gettempdir()).absolute()
        if base.name.startswith(PREFIX):  # of another server in this process
            base = base.parent
        base.mkdir(parents=True, exist_ok=True)
        remove_leftovers(base)
        self.folder, self._held = _locked_folder(base)
        os.environ[FOLDER_OF_GRADIO] = str(self.folder)
        self.stopping = threading.Event()
        self._known: dict[str, _Kept] = {}
        self._ours: dict[str, str] = {}  # the name that visitors use -> path
        self._lock = threading.Lock()
        atexit.register(self.close)

    def new_folder(self) -> Path:
        """Return a new empty folder with a random name."""
        folder = self.folder / secrets.token_urlsafe(16)
        folder.mkdir()
        return folder

    def add_shown(self, path: str) -> str:
        """Let every visitor see and use a file, such as an example on the page, until the server stops.

        Returns:
            The name under which visitors refer to it.
        """
        with self._lock:
            name = f"shown/{len(self._ours)}/{Path(path).name}"
            self._ours[name] = path
        return name

    def add_upload(self, path: str) -> None:
        with self._lock:
            self._known[path] = _Kept(True, Path(path).stat().st_size)

    def add_result(self, path: str, session: str) -> None:
        """Let a session use a result. Its time to live starts again: examples are shared and returned repeatedly."""
        if not path.startswith(f"{self.folder}{os.sep}"):
            return
        try:
            os.utime(path)
            size = Path(path).stat().st_size
        except OSError:  # it was deleted meanwhile
            return
        with self._lock:
            self._known.setdefault(path, _Kept(False, size)).sessions.add(session)

    def allows(self, path: str, session: str, uploads: bool) -> bool:
        """Return whether a session may use this file as an input. The disk is not accessed.

        Args:
            path: as the visitor wrote it.
            session: the session; "" for a program without one.
            uploads: whether the field accepts uploads, or only results.
        """
        with self._lock:
            if path in self._ours:
                return True
            kept = self._known.get(path)
            if kept is None or (kept.upload and not uploads):
                return False
            if kept.upload and not kept.sessions:
                if session:
                    kept.sessions.add(session)
                return True
            return session in kept.sessions

    def real(self, path: str) -> str:
        """Return the real path of a file that a visitor named."""
        with self._lock:
            return self._ours.get(path, path)

    def serves(self, path: str) -> bool:
        """Return whether this file may be downloaded by anyone who knows its name."""
        with self._lock:
            return path in self._known or path in self._ours

    def forget(self, path: str) -> None:
        with self._lock:
            self._known.pop(path, None)

    @property
    def bytes_kept(self) -> int:
        with self._lock:
            return sum(kept.size for kept in self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def sweep(self, seconds: float) -> None:
        """Delete files that are older than ``seconds``."""
        oldest = time.time() - seconds
        for entry in list(self.folder.iterdir()) if self.folder.exists() else []:
            ours = any(path.startswith(f"{entry}{os.sep}") for path in self._ours.values())
            if entry.name != LOCK and not ours and _newest(entry) <= oldest:
                _remove(entry)
        with self._lock:
            gone = [path for path in self._known if not Path(path).exists()]
            for path in gone:
                del self._known[path]

    def close(self) -> None:
        """Delete everything. It may be called again, in case a job that was still running wrote more."""
        with self._lock:
            self._known.clear()
            self._ours.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None
        if os.environ.get(FOLDER_OF_GRADIO) == str(self.folder):
            if self._before is None:
                del os.environ[FOLDER_OF_GRADIO]
            else:
                os.environ[FOLDER_OF_GRADIO] = self._before


def remove_leftovers(base: Path) -> None:
    """Delete the folders of servers that were killed, which are those whose lock is free."""
    for folder in base.glob(f"{PREFIX}*"):
        lock = folder / LOCK
        if folder.is_symlink() or not lock.is_file():
            continue
        try:
            held = _hold(lock)
        except OSError:  # its server runs, or it is another user's
            continue
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _locked_folder(base: Path) -> tuple[Path, int | None]:
    """Return a new private folder and its lock. It is renamed only once locked, so that another server that starts does
    not delete it as a leftover."""
    unnamed = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
    (unnamed / LOCK).touch()
    held = _hold(unnamed / LOCK)
    return unnamed.rename(unnamed.with_name(unnamed.name.removeprefix("."))), held


def _hold(lock: Path) -> int | None:
    """Lock a file and return its descriptor; None on systems without ``fcntl``.

    Raises:
        OSError: another process holds it.
    """
    if fcntl is None:
        return None
    held = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held


def _newest(entry: Path) -> float:
    times = [entry.lstat().st_mtime]
    for folder, _, names in os.walk(entry):
        times += [Path(folder).lstat().st_mtime]
        for name in names:
            try:
                times.append((Path(folder) / name).lstat().st_mtime)
            except OSError:
                continue
    return max(times)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
