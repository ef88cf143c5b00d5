"""Elements that the tabs share: upload fields that look for a face, the result, and the buttons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from .background import COLOUR, FIRST_COLOUR, PICTURE, WORDS, offered
from .calls import Calls
from .examples import Examples
from .guide import Guide
from .inputs import picture_input, sound_input, video_input
from .limits import Limits
from .look import hint
from .messages import CONSENT
from .progress import Stages
from .store import Store
from .studio import Studio

# One rendering at a time, so that each visitor gets the whole machine; pictures are checked meanwhile.
RENDERING: dict[str, Any] = {"concurrency_id": "rendering", "concurrency_limit": 1}
# On a phone the result is below the fields.
FILMING: dict[str, Any] = {**RENDERING, "scroll_to_output": True}
LOOKING: dict[str, Any] = {"concurrency_id": "looking", "concurrency_limit": 2}
_AT_ONCE: dict[str, Any] = {
    **LOOKING, "show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last",
}  # fmt: skip


@dataclass(frozen=True)
class TabContext:
    """The objects that every tab gets: models, limits, examples, the files' store, and the calls."""

    studio: Studio
    limits: Limits
    examples: Examples
    guide: Guide
    store: Store
    calls: Calls

    def stages(self, progress: gr.Progress) -> Stages:
        """Return the progress of one job, which ends when its time is up or the server stops."""
        return Stages(progress, self.limits.job_seconds, self.store.stopping)

    def check_consent(self, consent: bool, shown: str | None) -> None:
        """Check that the visitor confirmed the person's consent; bundled examples need none.

        Raises:
            SuperFaceError: the visitor has not said that the person agreed, and it is none of our examples.
        """
        from .messages import check_consent

        if not self.examples.includes(shown):
            check_consent(consent)


def photo_field(context: TabContext, name: str, height: int = 230) -> gr.Image:
    """Return a field for a photo, with a line below it that says whether a face was found."""
    photo = picture_input(
        context.limits, label="Photo", height=height, elem_id=f"{name}-photo", elem_classes="sf-field", buttons=[]
    )
    _watch(photo, context.guide.look_at_photo, name)
    return photo


def sound_field(context: TabContext, name: str) -> gr.Audio:
    sound = sound_input(
        context.limits, label="Speech", elem_id=f"{name}-speech", elem_classes="sf-field sf-sound", buttons=[]
    )
    note = _note_below(name=f"{name}-speech")
    sound.change(context.guide.listen_to, sound, note, **_AT_ONCE)
    hint(f"A recording of speech, {context.limits.sound_words}.")
    return sound


def video_field(context: TabContext, name: str, label: str) -> gr.Video:
    video = video_input(
        context.limits, label=label, height=230, elem_id=f"{name}-video", elem_classes="sf-field", buttons=[]
    )
    _watch(video, context.guide.look_at_video, f"{name}-video")
    hint(f"A video of one person, {context.limits.video_words}.")
    return video


def _watch(field: Any, look: Any, name: str) -> None:
    note = _note_below(name)
    drawn = gr.Image(
        visible=False, interactive=False, height=280, show_label=False, buttons=[], elem_id=f"{name}-looked-for"
    )
    field.change(look, field, [note, drawn], **_AT_ONCE)


def _note_below(name: str) -> gr.HTML:
    """Return a line below a field for what the server saw in an accepted file; above it is one for why a file was
    refused (see :mod:`.behaviour`)."""
    _told()
    return gr.HTML(visible=False, elem_id=f"{name}-note", elem_classes="sf-plain")


def _told(kind: str = "") -> None:
    gr.HTML("", elem_classes=f"sf-plain sf-told {kind}")


_CAPTION = """
<p>Our example, muted. <button type="button" class="sf-hear">Play with sound</button></p>
"""


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
        """Make the file downloadable once ``event`` has succeeded."""
        event.success(
            lambda video: gr.update(value=video, interactive=video is not None),
            self.video, self.download, show_progress="hidden", api_visibility="private",
        )  # fmt: skip


def video_result(name: str, example: str | None = None, height: int = 440) -> Result:
    """Return the elements that show a result; ``example`` is a finished video that is shown until the first result."""
    video = gr.Video(
        example,
        label="Result (synthetic)",
        interactive=False,
        height=height,
        autoplay=True,
        buttons=[],
        elem_id=f"{name}-result",
        elem_classes="sf-result",
    )
    if example:
        gr.HTML(_CAPTION, elem_classes="sf-plain sf-caption")
    download = gr.DownloadButton(
        "Download the video", interactive=False, elem_id=f"{name}-download", elem_classes="sf-after"
    )
    with gr.Accordion("Settings used", open=False, elem_classes="sf-after"):
        settings = gr.JSON(show_label=False, label="Settings used", elem_id=f"{name}-settings")
    return Result(video, settings, download)


def label_choice() -> gr.Checkbox:
    return gr.Checkbox(False, label="Write “AI-generated” on the result")


def background_choice(context: TabContext, name: str, info: str | None = None) -> tuple[gr.Radio, gr.ColorPicker]:
    """Return fields for the background and its colour; the colour is shown only where it is needed."""
    choices = [(WORDS[each], each) for each in offered(context.store)]
    kind = gr.Radio(choices, value=PICTURE, label="Background", info=info, elem_id=f"{name}-background")
    colour = gr.ColorPicker(FIRST_COLOUR, label="Colour of the background", visible=False, elem_id=f"{name}-colour")
    kind.change(
        lambda kind: gr.update(visible=kind == COLOUR), kind, colour, show_progress="hidden", api_visibility="private"
    )
    return kind, colour


def consent_box(name: str, visible: bool = True) -> gr.Checkbox:
    """Return the checkbox by which the visitor confirms the person's consent."""
    return gr.Checkbox(False, label=CONSENT, visible=visible, elem_id=f"{name}-consent", elem_classes="sf-consent")


def run_buttons(name: str, text: str, example: bool = True) -> tuple[gr.Button, gr.Button, gr.Button]:
    """Return the buttons "run", "stop" and "try the example", below a line for errors of the last run.

    Args:
        example: whether there is one to try.
    """
    _told("sf-told-run")
    with gr.Row(elem_classes="sf-actions"):
        run = gr.Button(text, variant="primary", size="lg", scale=3, elem_id=f"{name}-run", elem_classes="sf-run")
        stop = gr.Button("Stop", size="lg", scale=1, min_width=90, elem_id=f"{name}-stop", elem_classes="sf-stop")
        tried = gr.Button(
            "Try the example", size="lg", scale=2, min_width=150, visible=example, elem_id=f"{name}-example",
            elem_classes="sf-run",
        )  # fmt: skip
    return run, stop, tried


def stop_with(stop: gr.Button, events: list[Any]) -> None:
    stop.click(lambda: gr.Info("Stopped."), cancels=events, show_progress="hidden", api_visibility="private")
