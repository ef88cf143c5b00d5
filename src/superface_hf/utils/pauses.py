"""Keep Python's garbage collector from stopping a live stream."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # streams that run right now
_was_frozen = False


@contextmanager
def short_collections() -> Iterator[None]:
    """Leave everything that exists now out of garbage collections.

    torch and transformers are a million objects, and a collection that looks at all of them takes a quarter of a second, which
    makes several frames late. The collector has one list for the whole process: the first stream sets its objects aside, and
    the last one that ends puts them back.
    """
    global _inside, _was_frozen
    with _lock:
        if _inside == 0:
            _was_frozen = gc.get_freeze_count() > 0
            gc.freeze()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and not _was_frozen:
                gc.unfreeze()
