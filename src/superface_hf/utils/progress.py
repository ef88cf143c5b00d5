"""The progress bar: shown on a terminal, and only for work that takes a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm.auto import tqdm
from transformers.utils import logging

SHOW_AFTER = 1.5  # seconds


def no_bars() -> bool | None:
    """Return tqdm's ``disable``: True where bars are switched off, else None, which shows them on terminals alone."""
    return None if logging.is_progress_bar_enabled() else True


class progress_bar(tqdm):
    """A tqdm bar.

    Args:
        title: what is being done.
        total: how many frames, or None if that is not known.
        show: True or False; None shows it on a terminal, after a moment, unless transformers' bars are switched off.
    """

    def __init__(self, title: str, total: int | None, show: bool | None) -> None:
        quiet = not (sys.stderr.isatty() and logging.is_progress_bar_enabled()) if show is None else not show
        super().__init__(total=total, desc=title, unit="frame", disable=quiet, delay=0 if show else SHOW_AFTER)

    def over(self, items: Iterable[Any]) -> Iterator[Any]:
        """Pass items on and count them on the bar."""
        for item in items:
            yield item
            self.update()
