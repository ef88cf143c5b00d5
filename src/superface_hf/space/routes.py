"""Routes that replace gradio's uploads and downloads, and those for operators: health and metrics."""

from __future__ import annotations

import asyncio
import hmac
import mimetypes
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradio.route_utils import GradioMultiPartParser, MultiPartException
from gradio.routes import file_upload_statuses
from gradio_client.utils import strip_invalid_filename_characters
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .ice import NOT_UNDERSTOOD, BadOffer
from .metrics import memory_bytes

if TYPE_CHECKING:
    import gradio as gr

    from .limits import Limits
    from .metrics import Metrics
    from .store import Store

FILES_AT_ONCE = 4
# Types that a browser may show; other files are only offered for saving.
SHOWN = {
    "image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg",
    "audio/flac", "audio/mp4", "video/mp4", "video/webm", "video/quicktime",
}  # fmt: skip
# Name of the environment variable with the token that lets other machines read the metrics.
METRICS_TOKEN = "SUPERFACE_METRICS_TOKEN"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Headers of which a proxy sends at least one. The Host must be this machine too: another site's name could be made to point
# here.
OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
NOT_FOUND = "There is no such file."


def routes(demo: gr.Blocks, store: Store, limits: Limits, metrics: Metrics) -> list[Route]:
    """Return the app's own routes. They come before gradio's and replace those with the same address."""

    async def upload(request: Request) -> Response:
        if store.bytes_kept > limits.kept_mb * 2**20:
            metrics.turned_away(503)
            return PlainTextResponse("The server is full. Please try again in an hour.", 503)
        folder, kept = store.new_folder(), False
        try:
            paths = await _received(request, folder, limits.largest_upload)
            for path in paths:
                store.add_upload(path)
            kept = bool(paths)
            return JSONResponse(paths)
        except MultiPartException as error:
            return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
        except ClientDisconnect:
            return PlainTextResponse("The upload was broken off.", 400)
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    async def file(request: Request) -> Response:
        path = request.path_params["path"]
        if not store.serves(path):
            return PlainTextResponse(NOT_FOUND, 404)
        real = store.real(path)
        if not os.path.isfile(real):  # noqa: PTH113 - it was deleted meanwhile
            store.forget(path)
            return PlainTextResponse(NOT_FOUND, 404)
        kind = mimetypes.guess_type(real)[0] or ""
        return FileResponse(
            real,
            media_type=kind if kind in SHOWN else "application/octet-stream",
            filename=Path(real).name,
            content_disposition_type="inline" if kind in SHOWN else "attachment",
            headers={"x-content-type-options": "nosniff", "cache-control": "private, max-age=600"},
        )

    async def offer(request: Request) -> Response:
        try:
            given = await request.json()
            token, sdp = given["token"], given["sdp"]
            if not isinstance(token, str) or not isinstance(sdp, (str, type(None))):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            return PlainTextResponse(NOT_UNDERSTOOD, 400)
        try:
            host = (request.scope.get("server") or ("", None))[0]
            return JSONResponse({"sdp": await demo.calls.answer(token, sdp, host)})  # type: ignore[attr-defined]
        except BadOffer as error:
            return PlainTextResponse(str(error), 400)

    async def health(request: Request) -> Response:
        stopping = store.stopping.is_set()
        models = "ready" if demo.studio.ready else "loading"  # type: ignore[attr-defined]
        return JSONResponse({"status": "stopping" if stopping else "ok", "models": models}, 503 if stopping else 200)

    async def numbers(request: Request) -> Response:
        if not _is_operator(request):
            return PlainTextResponse(f"For this machine only, or with the word in {METRICS_TOKEN}.", 403)
        queue = demo._queue
        gauges: dict[str, tuple[str, float]] = {
            "queue_length": ("Calls that wait.", len(queue)),
            "busy": ("Calls that are being worked on.", sum(job is not None for job in queue.active_jobs)),
            "live_calls": ("Connections by WebRTC.", len(demo.calls)),  # type: ignore[attr-defined]
            "memory_bytes": ("Resident memory of the server.", memory_bytes()),
            "files_kept": ("Uploads and results that are kept.", len(store)),
            "files_kept_bytes": ("Their size.", store.bytes_kept),
            "models_ready": ("1 once the models are loaded.", demo.studio.ready),  # type: ignore[attr-defined]
        }
        return PlainTextResponse(metrics.text(gauges), media_type="text/plain; version=0.0.4")

    return [
        Route("/gradio_api/upload", upload, methods=["POST"]),
        Route("/gradio_api/upload/", upload, methods=["POST"]),
        Route("/gradio_api/file={path:path}", file, methods=["GET", "HEAD"]),
        Route("/live/offer", offer, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", numbers),
    ]


async def _received(request: Request, folder: Path, max_bytes: int) -> list[str]:
    """Return the paths of the uploaded files, which are moved into separate subfolders of ``folder``.

    Raises:
        MultiPartException: the request is not an upload, or too large.
    """
    upload_id = request.query_params.get("upload_id", "")[:100]
    tracked: Any = file_upload_statuses if upload_id else None
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise MultiPartException("Files are uploaded as multipart/form-data.")
    if tracked:
        tracked.track(upload_id)
    parser = GradioMultiPartParser(
        request.headers, request.stream(), max_files=FILES_AT_ONCE, max_fields=FILES_AT_ONCE, max_file_size=max_bytes,
        upload_dir=str(folder), upload_id=upload_id or None, upload_progress=tracked,
    )  # fmt: skip
    try:
        form = await parser.parse()
    finally:
        for broken in parser._files_to_close_on_error:
            broken.close()
        if tracked:  # the page asks for the progress a while longer
            tracked.set_done(upload_id)
            asyncio.get_running_loop().call_later(60, tracked.stop_tracking, upload_id)
    paths = []
    for number, part in enumerate(form.getlist("files")):
        if isinstance(part, str):
            raise MultiPartException("“files” must be files.")
        name = strip_invalid_filename_characters(Path(part.filename or "").name).lstrip(".") or "file"
        place = folder / str(number)
        place.mkdir()
        paths.append(str(Path(part.file.name).rename(place / name)))
    return paths


def _is_operator(request: Request) -> bool:
    token = os.environ.get(METRICS_TOKEN)
    if token:
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    if any(name in request.headers for name in OF_PROXIES) or (request.url.hostname or "") not in LOOPBACK:
        return False
    return request.client is not None and request.client.host in LOOPBACK
