"""Silence unhelpful messages of transformers: about the default model, and progress bars of quick loads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # threads (and calls within calls) that load right now
_was_shown = False


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide transformers' progress bars for weights that are read or written in a moment.

    The bars have one switch for the whole process. The first thread that enters turns it off, and the last one that leaves puts
    it back as it was.
    """
    global _inside, _was_shown
    from transformers.utils import logging as transformers_logging

    with _lock:
        if _inside == 0:
            _was_shown = transformers_logging.is_progress_bar_enabled()
            transformers_logging.disable_progress_bar()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _was_shown:
                transformers_logging.enable_progress_bar()


class ExpectedDefault(logging.Filter):
    """Drop transformers' warning that ``pipeline`` was given no model, where the default is our own.

    Args:
        default: the registered model that transformers uses by default.
    """

    def __init__(self, default: str) -> None:
        super().__init__()
        self._default = default

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be shown."""
        message = record.getMessage()
        return not (message.startswith("No model was supplied") and self._default in message)
