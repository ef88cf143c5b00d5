"""Upload fields, each with the check that a file must pass before anything of it is decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from .limits import Limits, check_picture, check_recording


def picture_input(limits: Limits, **settings: Any) -> gr.Image:
    """Return a field for a photo; the handler gets the path of a checked file, or None."""
    settings.setdefault("placeholder", f"Drop a photo here, or click to choose one\n\n{limits.picture_words}")
    field = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], **settings)
    return _checked(field, "photo.jpg", lambda path: check_picture(path, limits))


def sound_input(limits: Limits, **settings: Any) -> gr.Audio:
    """Return a field for a recording; the handler gets the path of a checked file, or None."""
    field = gr.Audio(type="filepath", sources=["upload", "microphone"], **settings)
    return _checked(field, "speech.wav", lambda path: check_recording(path, "sound", limits.sound_mb))


def video_input(limits: Limits, **settings: Any) -> gr.Video:
    """Return a field for a video; the handler gets the path of a checked file, or None."""
    field = gr.Video(sources=["upload", "webcam"], include_audio=True, **settings)
    return _checked(field, "video.mp4", lambda path: check_recording(path, "video", limits.video_mb))


def _checked(field: Any, example: str, check: Callable[[str], None]) -> Any:
    """Add the check to a field, where the gate finds it, and ``example``, a file's name for the page that documents the
    endpoints.

    A subclass would do as well, but gradio writes a stub file beside the source of each.
    """
    field.example_payload = lambda: {"path": example, "meta": {"_type": "gradio.FileData"}}
    field.check_upload = check
    return field
