"""Large blocks of memory that are kept between frames."""

from __future__ import annotations

import ctypes
from functools import cache

# glibc's numbers for mallopt (malloc.h), and what they are set to: blocks of a frame come from the heap, and up to so many
# bytes of it that are free for the moment stay with the process.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT, LARGEST = 256 * 2**20, 32 * 2**20


@cache
def keep_freed_memory() -> None:
    """Has the C library keep what a frame frees for the next frame.

    By default glibc gives blocks of megabytes back at once, and the next frame gets them anew, page by page: a quarter of a
    student's time. It holds for the whole process. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(MMAP_THRESHOLD, LARGEST)
    mallopt(TRIM_THRESHOLD, KEPT)
