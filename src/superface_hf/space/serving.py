"""Start the server, clean up while it runs, and stop it so that no file of a visitor remains."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware

from ..utils.assets import PORTRAIT
from .app import build
from .behaviour import SCRIPT
from .device import on_shared_gpu
from .distill import end_all
from .guard import Guard
from .limits import Limits
from .look import CSS, theme
from .messages import log_fault
from .routes import routes
from .sessions import forget_empty_first

if TYPE_CHECKING:
    import gradio as gr

THREADS = 16
# How often connections and files are checked.
LOOK_SECONDS, SWEEP_SECONDS = 2.0, 60.0
# A running job ends at its next frame, within this time.
LAST_FRAME_SECONDS = 8.0


def launch(demo: gr.Blocks | None = None, **settings: Any) -> Any:
    """Serve the page; models load in the background once it is up.

    It ends at SIGINT, SIGTERM or SIGHUP; with ``prevent_thread_lock`` it returns at once, and ``demo.close()`` ends it. At the
    end all files of visitors are deleted.

    Args:
        demo: an app of :func:`build`.
        settings: for ``gr.Blocks.launch``, such as ``server_name``, ``server_port`` and ``prevent_thread_lock``.
    """
    demo = demo or build()
    wait = not settings.pop("prevent_thread_lock", False)
    if not wait:
        return _started(demo, settings)
    with _ended_by_signals():
        try:
            served = _started(demo, settings)
            while demo.is_running:
                time.sleep(0.2)
        finally:
            demo.close(verbose=False)
            demo.store.close()  # type: ignore[attr-defined]
    return served


def _started(demo: Any, settings: dict[str, Any]) -> Any:
    limits: Limits = demo.limits
    if on_shared_gpu():
        _ = demo.studio.pipe  # ZeroGPU moves only models that are loaded before the page is up
    served = demo.launch(
        prevent_thread_lock=True,
        theme=theme(),
        head=f"<style>{CSS}</style><script>{SCRIPT}</script>",  # gradio rewrites the selectors of css=
        max_file_size=limits.largest_upload,
        max_threads=THREADS,
        state_session_capacity=limits.sessions,
        run_history=False,  # it would store visitors' inputs, including tokens
        enable_monitoring=False,
        show_error=False,  # see messages.py for errors that visitors read
        ssr_mode=False,
        footer_links=["api"],
        allowed_paths=[
            str(PORTRAIT.parent)
        ],  # the bundled examples, wherever the package is installed; routes.py serves the others
        app_kwargs={
            "routes": routes(demo, demo.store, limits, demo.metrics),
            "middleware": [Middleware(Guard, limits=limits, metrics=demo.metrics)],
        },
        **settings,
    )
    forget_empty_first(demo.state_holder)
    house = Housekeeping(demo)
    _stop_all_with(demo, house)
    house.start()
    demo.studio.warm_up()
    return served


class Housekeeping:
    """Closes silent connections, and deletes files that are older than the limit.

    Args:
        demo: a running app.
    """

    def __init__(self, demo: Any) -> None:
        self._demo, self._end = demo, threading.Event()
        self._waiting: dict[int, float] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, name="superface-housekeeping", daemon=True).start()

    def stop(self) -> None:
        self._end.set()

    def _run(self) -> None:
        swept = time.monotonic()
        while not self._end.wait(LOOK_SECONDS):
            try:
                self._close_silent_connections()
                if time.monotonic() - swept > SWEEP_SECONDS:
                    swept = time.monotonic()
                    self._demo.store.sweep(self._demo.limits.keep_seconds)
            except Exception as error:  # this thread must go on: the next round may succeed
                log_fault("Housekeeping failed", error)

    def _close_silent_connections(self) -> None:
        """Close connections that have been silent too long; the server alone would wait forever for their first request."""
        now, silent, limits = time.monotonic(), {}, self._demo.limits
        connections = list(self._demo.server.server_state.connections)
        patience = limits.silence_seconds if len(connections) <= limits.connections else LOOK_SECONDS
        for connection in connections:
            if getattr(connection, "cycle", None) is not None:
                continue
            since = silent[id(connection)] = self._waiting.get(id(connection), now)
            if now - since >= patience:
                connection.loop.call_soon_threadsafe(connection.transport.abort)
        self._waiting = silent


def _stop_all_with(demo: Any, house: Housekeeping) -> None:
    """Make ``demo.close()`` end running jobs and delete visitors' files."""
    close = type(demo).close

    def close_all(verbose: bool = True) -> None:
        demo.store.stopping.set()
        house.stop()
        demo.calls.close()
        end_all()
        demo.store.sweep(0)  # first, as the server may be killed soon
        close(demo, verbose=verbose)
        ends = time.monotonic() + LAST_FRAME_SECONDS
        while any(job is not None for job in demo._queue.active_jobs) and time.monotonic() < ends:
            time.sleep(0.1)
        demo.store.close()

    demo.close = close_all


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as SIGINT does, unless their handlers were changed before (``nohup`` does
    that)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    ours = [number for number in ours if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
