"""What the tabs share: photo and video fields that look for a face, the result, and the buttons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from .examples import Examples
from .guide import Guide
from .inputs import picture_input, sound_input, video_input
from .limits import Limits
from .look import hint
from .progress import Stages
from .store import Store
from .studio import Studio

# One long rendering at a time, so that each visitor gets the whole machine; looking at a picture goes on beside it.
RENDERING: dict[str, Any] = {"concurrency_id": "rendering", "concurrency_limit": 1}
# On a phone the result lies below the fields.
FILMING: dict[str, Any] = {**RENDERING, "scroll_to_output": True}
LOOKING: dict[str, Any] = {"concurrency_id": "looking", "concurrency_limit": 2}


@dataclass(frozen=True)
class Room:
    """What every tab gets: the models, the limits, the examples, the box that every visitor ticks once, and where files lie."""

    studio: Studio
    limits: Limits
    examples: Examples
    guide: Guide
    consent: gr.Checkbox
    store: Store

    def stages(self, progress: gr.Progress) -> Stages:
        """For one job: it ends when its time is up, or when the server stops."""
        return Stages(progress, self.limits.job_seconds, self.store.stopping)

    def check_consent(self, consent: bool, shown: str | None) -> None:
        """``shown`` is the file that shows the person.

        Raises:
            SuperFaceError: the visitor has not said that the person agreed, and it is none of our examples.
        """
        from .messages import check_consent

        if not self.examples.includes(shown):
            check_consent(consent)


def photo_field(room: Room, name: str, height: int = 300) -> gr.Image:
    """With the line below it that says whether a face was found."""
    photo = picture_input(room.limits, label="Photo", height=height, elem_id=f"{name}-photo", buttons=[])
    _watch(photo, room.guide.look_at_photo, name)
    return photo


def sound_field(room: Room, name: str) -> gr.Audio:
    hint(f"A recording of speech, {room.limits.sound_words}.")
    return sound_input(room.limits, label="Speech", elem_id=f"{name}-speech", buttons=[])


def video_field(room: Room, name: str, label: str) -> gr.Video:
    hint(f"A video of one person, {room.limits.video_words}.")
    video = video_input(room.limits, label=label, height=300, elem_id=f"{name}-video", buttons=[])
    _watch(video, room.guide.look_at_video, f"{name}-video")
    return video


def _watch(field: Any, look: Any, name: str) -> None:
    note = gr.HTML(visible=False, elem_id=f"{name}-note", elem_classes="sf-plain")
    drawn = gr.Image(
        visible=False, interactive=False, height=280, show_label=False, buttons=[], elem_id=f"{name}-looked-for"
    )
    field.change(
        look,
        field,
        [note, drawn],
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
        **LOOKING,
    )


@dataclass(frozen=True)
class Result:
    """Where a video appears, and what it was made with."""

    video: gr.Video
    settings: gr.JSON
    download: gr.DownloadButton

    @property
    def outputs(self) -> list[Any]:
        return [self.video, self.settings]

    def offer(self, event: Any) -> None:
        """Once ``event`` has succeeded, the file can be downloaded."""
        event.success(
            lambda video: gr.update(value=video, interactive=video is not None),
            self.video, self.download, show_progress="hidden", api_visibility="private",
        )  # fmt: skip


def video_result(name: str, height: int = 420) -> Result:
    video = gr.Video(
        label="Result (synthetic)",
        interactive=False,
        height=height,
        autoplay=True,
        buttons=[],
        elem_id=f"{name}-result",
    )
    download = gr.DownloadButton("Download the video", interactive=False, elem_id=f"{name}-download")
    with gr.Accordion("Settings used", open=False):
        settings = gr.JSON(show_label=False, label="Settings used", elem_id=f"{name}-settings")
    return Result(video, settings, download)


def label_choice() -> gr.Checkbox:
    return gr.Checkbox(False, label="Write “AI-generated” on the result")


def run_buttons(name: str, text: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        run = gr.Button(text, variant="primary", scale=3, elem_id=f"{name}-run")
        stop = gr.Button("Stop", variant="stop", scale=1, min_width=90, elem_id=f"{name}-stop")
    return run, stop


def stop_with(stop: gr.Button, events: list[Any]) -> None:
    stop.click(lambda: gr.Info("Stopped."), cancels=events, show_progress="hidden", api_visibility="private")
