"""Large blocks of memory that are kept between frames: the one place that changes how the whole process allocates."""

from __future__ import annotations

import ctypes
import threading
import weakref
from functools import cache
from typing import Any

# glibc's numbers for mallopt (malloc.h); what they are set to while a student renders: blocks of a frame come from the heap,
# and up to so many bytes of it that are free for the moment stay with the process; and what they are by default.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT, LARGEST = 256 * 2**20, 32 * 2**20
DEFAULT = 128 * 2**10

_lock = threading.RLock()  # a user may be collected while it is held
_users: set[int] = set()


def keep_freed_memory(user: Any) -> None:
    """Has the C library keep what a frame frees for the next frame, as long as ``user`` exists.

    By default glibc gives blocks of megabytes back at once, and the next frame gets them anew, page by page: a quarter of a
    student's time. When the last user is gone, glibc's default thresholds hold again. Other C libraries are left as they are.
    """
    with _lock:
        if id(user) in _users:
            return
        if not _users:
            _set(LARGEST, KEPT)
        _users.add(id(user))
    weakref.finalize(user, _leave, id(user)).atexit = False


def _leave(user: int) -> None:
    with _lock:
        _users.discard(user)
        if not _users:
            _set(DEFAULT, DEFAULT)


def _set(largest: int, kept: int) -> None:
    if mallopt := _mallopt():
        mallopt(MMAP_THRESHOLD, largest)
        mallopt(TRIM_THRESHOLD, kept)


@cache
def _mallopt() -> Any:
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return None
