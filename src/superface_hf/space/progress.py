"""The progress of a job: the name of the stage, the share that is done, and an estimate of the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from math import inf
from typing import TypeVar

import gradio as gr

from ..errors import SuperFaceError

ItemT = TypeVar("ItemT")
# The first items are slower than the others; an estimate before this many would be wrong.
ESTIMATE_AFTER = 3
REPORT_EVERY = 0.25  # seconds


class Stages:
    """Reports to gradio's progress bar, and ends jobs that take too long.

    Args:
        progress: gradio's progress of the handler.
        max_seconds: the limit of all stages together.
        stopping: set when the server stops.
    """

    def __init__(
        self, progress: gr.Progress, max_seconds: float = inf, stopping: threading.Event | None = None
    ) -> None:
        self._progress, self._max_seconds = progress, max_seconds
        self._stopping = stopping or threading.Event()
        self._began = time.monotonic()

    def say(self, stage: str) -> None:
        """Show a stage of unknown length.

        Raises:
            SuperFaceError: the time is up, or the server stops.
        """
        self._go_on(time.monotonic())
        self._progress(None, desc=stage)

    def over(self, items: Iterable[ItemT], stage: str, total: int | None) -> Iterator[ItemT]:
        """Yield the items, and show how many are done.

        Raises:
            SuperFaceError: the time is up, or the server stops.
        """
        start = reported = time.monotonic()
        self._report(0, total, stage, 0.0)
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            self._go_on(now)
            if now - reported >= REPORT_EVERY:
                reported = now
                self._report(done, total, stage, now - start)

    def _go_on(self, now: float) -> None:
        if self._stopping.is_set():
            raise SuperFaceError("The server is being stopped. Please try again in a few minutes.")
        if now - self._began > self._max_seconds:
            raise SuperFaceError(
                f"This took longer than {in_time(self._max_seconds)} and was stopped. Please choose a shorter recording, or a "
                "smaller picture or video."
            )

    def _report(self, done: int, total: int | None, stage: str, seconds: float) -> None:
        if not total:
            self._progress(None, desc=stage)
            return
        done = min(done, total)
        left = f", about {in_time((total - done) * seconds / done)} left" if done >= ESTIMATE_AFTER else ""
        self._progress(done / total, desc=f"{stage}{left}")


def in_time(seconds: float) -> str:
    """Return a duration as text: ``12 s`` or ``3 min``."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
