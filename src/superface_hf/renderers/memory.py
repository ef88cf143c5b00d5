"""Keep large blocks of memory between frames. Only this module changes how the whole process allocates."""

from __future__ import annotations

import ctypes
import threading
import weakref
from functools import cache
from typing import Any

# glibc's numbers of two settings of mallopt (malloc.h), and their values while a student renders: smaller blocks come from the
# heap, and up to so many free bytes of it stay with the process. Then glibc's default of both.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MMAP_BYTES = 256 * 2**20, 32 * 2**20
DEFAULT_BYTES = 128 * 2**10

_lock = threading.RLock()  # reentrant: a user may be garbage-collected while it is held
_users: set[int] = set()


def keep_freed_memory(user: Any) -> None:
    """Make the C library keep the memory that a frame frees for the next frame, as long as ``user`` exists.

    By default glibc returns blocks of megabytes to the system at once, and the next frame allocates them again, page by
    page, which costs a quarter of a student's time. After the last user, glibc's default thresholds are set again.
    Other C libraries are not changed.
    """
    with _lock:
        if id(user) in _users:
            return
        if not _users:
            _set(MMAP_BYTES, TRIM_BYTES)
        _users.add(id(user))
    weakref.finalize(user, _leave, id(user)).atexit = False


def _leave(user: int) -> None:
    with _lock:
        _users.discard(user)
        if not _users:
            _set(DEFAULT_BYTES, DEFAULT_BYTES)


def _set(largest: int, kept: int) -> None:
    if mallopt := _glibc("mallopt"):
        mallopt(MMAP_THRESHOLD, largest)
        mallopt(TRIM_THRESHOLD, kept)


def return_freed_memory() -> None:
    """Return to the system what is free between blocks that are in use, where the C library is glibc.

    A long video allocates blocks of many sizes. The gaps between them are small, glibc keeps them all, and a process that
    needs 200 MB can come to hold 400.
    """
    if trim := _glibc("malloc_trim"):
        trim(0)


@cache
def _glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
