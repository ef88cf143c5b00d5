"""Where the work stands: the name of the stage, how much is done, and about how long it will take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import gradio as gr

ItemT = TypeVar("ItemT")
# The first items are slower than the others; before so many, a guess of the rest would be wild.
GUESS_AFTER = 3
REPORT_EVERY = 0.25  # seconds


class Stages:
    """Reports to gradio's progress bar.

    Args:
        progress: the handler's.
    """

    def __init__(self, progress: gr.Progress) -> None:
        self._progress = progress

    def say(self, stage: str) -> None:
        """A stage of unknown length."""
        self._progress(None, desc=stage)

    def over(self, items: Iterable[ItemT], stage: str, total: int | None) -> Iterator[ItemT]:
        """Passes items on and counts them."""
        start = reported = time.monotonic()
        self._report(0, total, stage, 0.0)
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - reported >= REPORT_EVERY:
                reported = now
                self._report(done, total, stage, now - start)

    def _report(self, done: int, total: int | None, stage: str, seconds: float) -> None:
        if not total:
            self._progress(None, desc=stage)
            return
        done = min(done, total)
        left = f", about {in_time((total - done) * seconds / done)} left" if done >= GUESS_AFTER else ""
        self._progress(done / total, desc=f"{stage}{left}")


def in_time(seconds: float) -> str:
    """``12 s`` or ``3 min``."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
