"""ASGI middleware that limits requests: which paths are served, how large and slow a request may be, and how many at once.

Requests are refused before any part of them is stored.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import contextmanager
from typing import Any

from gradio.route_utils import FnIndexInferError

from .limits import Limits
from .messages import log_fault
from .metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A request's size beside its files: multipart boundaries and headers.
WRAPPING = 64 * 1024
# Requests that carry no files hold only words and numbers.
PLAIN_BYTES = 2 * 2**20
PLAIN_SECONDS = 20.0
# Only the routes that the page and programs need. Others of gradio would fetch addresses, cut videos with FFmpeg, or skip the
# queue.
_READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login_check|health|metrics)/?|/(assets|static|svelte)/.*|"
    r"/pwa_icon(/\d+)?|/gradio_api/(info|openapi\.json|app_id|startup-events|theme\.css|queue/status|queue/data|upload_progress)/?|"
    r"/gradio_api/(user|token|login_check)/?|/gradio_api/heartbeat/[^/]+|/gradio_api/call/(v2/)?[^/]+/[^/]+|"
    r"/gradio_api/file=(?!https?:).*",
    re.DOTALL,
)
_WRITE = re.compile(r"/gradio_api/(upload|queue/join|cancel|reset|component_server|call/(v2/)?[^/]+)/?|/live/offer")
_UPLOAD = re.compile(r"/gradio_api/upload/?")
TOO_SLOW = "This took too long to arrive. Please try again, or choose a smaller file."
FOR_OPERATORS = ("/health", "/metrics")


class Guard:
    """ASGI middleware that refuses requests outside the limits.

    Args:
        app: the ASGI app behind this middleware.
        limits: size, time and number of requests.
        metrics: counts refused requests.
    """

    def __init__(self, app: Any, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._requests = self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page uses no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        reply = _Reply(send, self._metrics)
        try:
            self._check(scope)
            with self._counted(scope):
                await self._app(scope, self._limited(scope, receive, reply), reply.pass_on)
            if reply.instead is not None:
                raise reply.instead
        except _Refused as refusal:
            await reply.refuse(refusal)
        except (
            KeyError,
            FnIndexInferError,
        ):  # what gradio raises where a request names no function or component of the app
            await reply.refuse(_Refused(404, "This is not served here."))
        except Exception as error:
            log_fault(f"{scope['method']} {scope['path'][:80]} failed", error)
            await reply.refuse(_Refused(500, "Something went wrong on our side."))

    def _check(self, scope: Scope) -> None:
        path, writes = _path(scope), scope["method"] == "POST"
        if scope["method"] not in ("GET", "HEAD", "POST", "OPTIONS"):
            raise _Refused(405, "This is not served here.")
        if not (_WRITE if writes else _READ).fullmatch(path) and scope["method"] != "OPTIONS":
            raise _Refused(404, "This is not served here.")
        claimed = _header(scope, b"content-length")
        if claimed.isdigit() and int(claimed) > self._max_bytes(scope):
            raise self._too_large(scope)
        if writes and not _UPLOAD.fullmatch(path) and _header(scope, b"content-type").startswith(b"multipart/"):
            raise _Refused(415, "Files are taken at /gradio_api/upload only.")

    @contextmanager
    def _counted(self, scope: Scope) -> Any:
        """Count a request while it is served.

        Raises:
            _Refused: too many other requests are being served.
        """
        upload = bool(_UPLOAD.fullmatch(_path(scope)))
        if upload and self._uploads >= self._limits.uploads:
            raise _Refused(503, "Too many files are being uploaded. Please try again in a minute.")
        if self._requests >= self._limits.connections and _path(scope) not in FOR_OPERATORS:
            raise _Refused(503, "Too many visitors are here. Please try again in a minute.")
        self._requests += 1
        self._uploads += upload
        try:
            yield
        finally:
            self._requests -= 1
            self._uploads -= upload

    def _limited(self, scope: Scope, receive: Receive, reply: _Reply) -> Receive:
        """Return ``receive`` with limits on the size and time of the body. After the body it only waits for the visitor
        to disconnect, without a limit."""
        upload = bool(_UPLOAD.fullmatch(_path(scope)))
        ends = time.monotonic() + (self._limits.upload_seconds if upload else PLAIN_SECONDS)
        received, complete = 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            patience = min(self._limits.silence_seconds, ends - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(patience, 0.001))
            except TimeoutError:
                reply.instead = _Refused(408, TOO_SLOW)
                raise reply.instead from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._max_bytes(scope):
                reply.instead = self._too_large(scope)
                raise reply.instead
            return message

        return limited

    def _max_bytes(self, scope: Scope) -> int:
        return self._limits.largest_upload + WRAPPING if _UPLOAD.fullmatch(_path(scope)) else PLAIN_BYTES

    def _too_large(self, scope: Scope) -> _Refused:
        return _Refused(413, f"This is too large: at most {self._max_bytes(scope) / 2**20:.0f} MB can be taken.")


class _Refused(Exception):
    """A request that is not served, with the reason for the visitor."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class _Reply:
    """Passes the app's answer on, or sends an answer of the guard if none has begun."""

    def __init__(self, send: Send, metrics: Metrics) -> None:
        self._send, self._metrics, self._begun = send, metrics, False
        self.instead: _Refused | None = None  # replaces the app's answer to a body that it could not read: it says why

    async def pass_on(self, message: Message) -> None:
        if self.instead is not None and not self._begun:
            return
        self._begun = True
        await self._send(message)

    async def refuse(self, refusal: _Refused) -> None:
        self._metrics.turned_away(refusal.status)
        if self._begun:  # closing the connection shows that the answer is incomplete
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": refusal.why.encode()})


def _path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope.get("headers", ()) if name == wanted), b"")
