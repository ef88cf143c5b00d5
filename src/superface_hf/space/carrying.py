"""A handler's side of a call: it waits for the visitor, and the call lasts no longer than the handler."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .calls import Call

# Seconds in which a visitor must be connected; those with a camera are asked first whether they allow it.
CONNECT, CONNECT_WITH_CAMERA = 6.0, 20.0
STEP = 0.2  # a handler looks at its call so often, so that the visitor can stop it
LAST_PICTURE = 5.0  # seconds in which work ends once its call is over


class NotConnected(Exception):
    """No connection to the visitor's browser came about."""


def carried(call: Call, work: Callable[[], None], seconds: float, stopping: threading.Event) -> Iterator[None]:
    """Wait until the visitor is connected, then work in a thread of its own until work or call end. Yield meanwhile, so
    that the handler can be stopped.

    Args:
        work: shows pictures; it ends soon after the call is over.
        seconds: the most that the call may last.
        stopping: set when the server stops.

    Raises:
        NotConnected: the visitor did not come, or nothing can reach them.
        Exception: whatever the work raised.
    """
    raised: list[Exception] = []

    def working() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    worker = threading.Thread(target=working, name="superface-call", daemon=True)
    try:
        ends = time.monotonic() + (CONNECT_WITH_CAMERA if call.with_camera else CONNECT)
        while not call.connected.wait(STEP):
            if call.over.is_set() or stopping.is_set() or time.monotonic() > ends:
                raise NotConnected
            yield
        ends = time.monotonic() + seconds
        worker.start()
        while worker.is_alive() and not stopping.is_set() and time.monotonic() < ends:
            worker.join(STEP)
            yield
    finally:
        call.end()
        if worker.ident is not None:
            worker.join(LAST_PICTURE)
    if raised:
        raise raised[0]
