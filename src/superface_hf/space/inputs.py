"""Upload fields that look at a file before it is opened, and take nothing but uploads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

from ..errors import MediaError
from .limits import Limits, check_picture, check_recording
from .messages import explained

NO_ADDRESSES = "Web addresses are not fetched here. Please upload the file itself."


def picture_input(limits: Limits, **settings: Any) -> gr.Image:
    """A photo; the handler gets the path of a checked file, or None."""
    settings.setdefault("placeholder", f"Drop a photo here, or click to choose one\n\n{limits.picture_words}")
    field = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], **settings)
    return _checked(field, "photo.jpg", lambda path: check_picture(path, limits))


def sound_input(limits: Limits, **settings: Any) -> gr.Audio:
    """A recording; the handler gets the path of a checked file, or None."""
    field = gr.Audio(type="filepath", sources=["upload", "microphone"], **settings)
    return _checked(field, "speech.wav", lambda path: check_recording(path, "sound", limits.sound_mb))


def video_input(limits: Limits, **settings: Any) -> gr.Video:
    """A video; the handler gets the path of a checked file, or None."""
    field = gr.Video(sources=["upload", "webcam"], include_audio=True, **settings)
    return _checked(field, "video.mp4", lambda path: check_recording(path, "video", limits.video_mb))


def _checked(field: Any, example: str, check: Callable[[str], None]) -> Any:
    """``example`` is a file's name, for the page that explains the endpoints.

    gradio would decode pictures before any limit is looked at, convert videos, and fetch addresses of any length.

    A subclass would do as well, but gradio writes a stub file beside the source of each.
    """
    to_cache = field.async_move_resource_to_block_cache

    def preprocess(payload: Any) -> str | None:
        if payload is None or not payload.path:
            return None
        with explained():
            if not Path(payload.path).is_file():
                raise MediaError("The file is not there any more. Please upload it again.")
            check(payload.path)
        return str(payload.path)

    async def uploads_only(source: str | Path | None) -> str | None:
        with explained():
            if is_http_url_like(str(source)):
                raise MediaError(NO_ADDRESSES)
        return await to_cache(source)

    field.example_payload = lambda: {"path": example, "meta": {"_type": "gradio.FileData"}}
    field.preprocess, field.async_move_resource_to_block_cache = preprocess, uploads_only
    return field
