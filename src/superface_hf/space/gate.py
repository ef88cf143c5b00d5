"""The gate before every function of the app: a session may use only the files that it uploaded or was given.

gradio would load any file that a request names: it treats a file as uploaded where a request leaves out one field, and opens
it before any handler of this app runs. So gradio never sees a visitor's description of a file. The gate looks the name up in
the :class:`Store`, without accessing the disk, and passes the path to the function. It replaces methods of the app itself, so
no function, named or not, can be called without it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like
from transformers.utils import logging

from ..errors import MediaError
from .messages import Failure, explained
from .metrics import Metrics
from .store import Store

logger = logging.get_logger(__name__)

# Components whose values are files, numbers, and plain values.
FILES = (gr.Image, gr.Audio, gr.Video, gr.File, gr.DownloadButton)
NUMBERS = (gr.Slider,)
PLAIN = (gr.Checkbox, gr.Textbox, gr.Radio, gr.ColorPicker, *NUMBERS)

# The same answer whether such a file exists or not.
NOT_YOURS = "The file is not there any more. Please upload it again."
NO_ADDRESSES = "Web addresses are not fetched here. Please upload the file itself."
NOT_UNDERSTOOD = "This request cannot be understood: its values are not those that the endpoint takes."

_session: ContextVar[str] = ContextVar("superface_session", default="")


class Gate:
    """Checks the inputs and registers the outputs of all functions of an app.

    Args:
        demo: the finished app. An upload field has its check of a file as ``check_upload``, see ``inputs``; other file
            components take only files that the app itself gave the session.
        store: the files of each session.
        metrics: counts calls.

    Raises:
        TypeError: a function takes a component that is in none of the lists above; add it to one.
    """

    def __init__(self, demo: gr.Blocks, store: Store, metrics: Metrics) -> None:
        self._store, self._metrics = store, metrics
        self._checks: dict[int, Callable[[str], None] | None] = {}
        for function in demo.fns.values():
            for block in function.inputs:
                self._learn(block)
        for field in demo.blocks.values():
            if isinstance(field, FILES):
                self._show(field.value)
        self._process, self._preprocess, self._postprocess = (
            demo.process_api, demo.preprocess_data, demo.postprocess_data,
        )  # fmt: skip
        self._push = demo._queue.push
        demo._queue.push = self._queue_push  # type: ignore[method-assign, assignment]
        demo.process_api = self._process_api  # type: ignore[method-assign, assignment]
        demo.preprocess_data = self._preprocess_data  # type: ignore[method-assign]
        demo.postprocess_data = self._postprocess_data  # type: ignore[method-assign]

    def _learn(self, block: Any) -> None:
        if isinstance(block, FILES):
            if getattr(block, "type", "filepath") != "filepath":
                raise TypeError(f"{block!r} must have type='filepath': the gate hands out paths.")
            self._checks[block._id] = getattr(block, "check_upload", None)
        elif not block.stateful and not isinstance(block, PLAIN):
            raise TypeError(f"The gate does not know what {block!r} may take.")

    def _show(self, value: Any) -> None:
        """Let every visitor use what a field shows from the start; the page then has a name for it instead of its path."""
        for file in _files(value):
            file["path"] = self._store.add_shown(file["path"])
            if "url" in file:
                file["url"] = f"/gradio_api/file={file['path']}"

    async def _queue_push(self, body: Any, **call: Any) -> Any:
        """Refuse an empty session: gradio handles it inconsistently and would fail later."""
        if body.session_hash == "":
            return False, NOT_UNDERSTOOD, "error"
        return await self._push(body=body, **call)

    async def _process_api(self, **call: Any) -> dict[str, Any]:
        """Run one step of a function (a generator's steps end at each yield), and count how it ended."""
        name = _endpoint(call["block_fn"])
        session = call.get("session_hash") or ""
        # Where a program sends no session, gradio uses the event's id instead.
        token = _session.set("" if session == call.get("event_id") else session)
        try:
            with explained():
                output = await self._process(**call)
        except gr.Error as error:
            error.print_exception = False  # gradio would write it to the log with its traceback
            self._metrics.ended(name, "failed" if isinstance(error, Failure) else "refused")
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self._metrics.ended(name, "stopped")
            raise
        finally:
            _session.reset(token)
        self._metrics.worked(name, output["duration"])
        if not output["is_generating"]:
            self._metrics.ended(name, "done")
        return output

    async def _preprocess_data(self, block_fn: Any, inputs: Any, state: Any, explicit_call: bool = False) -> list[Any]:
        if not isinstance(inputs, list) or (len(inputs) != len(block_fn.inputs) and not block_fn.cancels):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        given = list(zip(block_fn.inputs, inputs, strict=False))
        paths = {
            index: await asyncio.to_thread(self._path, block, value, _session.get())
            for index, (block, value) in enumerate(given)
            if isinstance(block, FILES)
        }
        plain = [self._plain(block, value) for block, value in given]
        try:
            ready = await self._preprocess(block_fn, plain, state, explicit_call)
        except gr.Error:
            raise
        except Exception:
            # The values have valid types, so this is a fault of the app, which must be logged here.
            logger.exception(f"What {_endpoint(block_fn)} was given could not be handed to it")
            raise Failure(NOT_UNDERSTOOD, print_exception=False) from None
        return [paths.get(index, value) for index, value in enumerate(ready)]

    def _plain(self, block: Any, value: Any) -> Any:
        """Return the value that gradio may see: None for files and states, otherwise a value of a kind that the field
        takes."""
        if isinstance(block, FILES) or block.stateful:
            return None
        kinds = (int, float) if isinstance(block, NUMBERS) else (str, int, float, type(None))
        if not isinstance(value, kinds):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        if isinstance(value, float) and not math.isfinite(value):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        return value

    def _path(self, block: Any, value: Any, session: str) -> str | None:
        """Return the checked path of a file that this session may use; None where no file was given."""
        if value is None:
            return None
        path = value.get("path") if isinstance(value, dict) else None
        if not isinstance(path, str):
            raise gr.Error(NOT_UNDERSTOOD, print_exception=False)
        check = self._checks[block._id]
        with explained():
            if is_http_url_like(path):
                raise MediaError(NO_ADDRESSES)
            if not self._store.allows(path, session, uploads=check is not None):
                raise MediaError(NOT_YOURS)
            real = self._store.real(path)
            if check is not None:
                try:
                    check(real)
                except FileNotFoundError:
                    raise MediaError(NOT_YOURS) from None
        return real

    async def _postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        values = await self._postprocess(block_fn, predictions, state)
        for block, value in zip(block_fn.outputs, values, strict=False):
            if isinstance(block, FILES):
                for file in _files(value):
                    self._store.add_result(file["path"], _session.get())
        return values


def _endpoint(function: Any) -> str:
    """Return an endpoint's name for the metrics: an example's button counts as the function that it starts, unnamed
    functions as "page"."""
    name = re.sub(r"_\d+$", "", function.api_name or "")
    return "page" if name in ("", "lambda", "partial", "unnamed") else name


def _files(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all descriptions of files inside a value for the page."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value
        for part in value.values():
            yield from _files(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _files(part)
