"""Turn the signals that stop a process into an exception, so that a command cleans up and says why it ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Service managers send SIGTERM, a closed terminal SIGHUP; Windows has only some of them.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """The process received a signal to stop. Like ``KeyboardInterrupt`` it is no ``Exception``: handlers of errors let
    it pass, and ``finally`` runs."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number  # as shells report it


@contextmanager
def stopping() -> Iterator[None]:
    """Turn signals that would end the process at once into :class:`Stopped`; a second signal does end it at once.

    Signals that are ignored (``nohup``) or handled already are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
