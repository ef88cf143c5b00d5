"""Refuses requests that are too large while they come in, before anything is kept of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# What a request may have beside its files: the multipart boundaries and headers.
WRAPPING = 64 * 1024
# Requests that carry no files hold only words and numbers.
PLAIN_BYTES = 2 * 2**20
UPLOADS = ("/upload", "/upload/")


class SizeGuard:
    """ASGI middleware. Answers 413 to a body that is, or says it is, larger than allowed.

    Args:
        app: what is guarded.
        largest_upload: bytes of an uploaded file.
    """

    def __init__(self, app: Any, largest_upload: int) -> None:
        self._app, self._largest_upload = app, largest_upload

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._largest_upload + WRAPPING if scope["path"].endswith(UPLOADS) else PLAIN_BYTES
        if _claimed(scope) > limit:
            await _refuse(send, limit)
            return
        received, answered = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if not answered:
                await _refuse(send, limit)


class _TooLarge(Exception):
    """More bytes came than were announced or allowed."""


def _claimed(scope: MutableMapping[str, Any]) -> int:
    for name, value in scope.get("headers", ()):
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


async def _refuse(send: Send, limit: int) -> None:
    text = f"This is too large: at most {limit / 2**20:.0f} MB can be taken.".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text})
