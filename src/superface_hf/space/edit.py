"""The tab *Edit*: photo + sliders -> picture, with a preview that follows the sliders."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from ..utils.remembered import Remembered, key_of
from .device import on_gpu
from .limits import read_picture
from .look import lead
from .messages import for_visitors, needed
from .parts import TabContext, consent_box, label_choice, photo_field, run_buttons
from .sliders import GROUPS, NAMES, PRESETS, SLIDERS, blendshapes, posed
from .studio import Studio
from .video_file import result_path

if TYPE_CHECKING:
    from ..renderers.base import ReadyPortrait

# Portraits that are kept ready, so that moving a slider costs one frame: enough for a few visitors, about 25 MB each.
KEPT_READY = 8
PREVIEWING: dict[str, Any] = {"concurrency_id": "editing", "concurrency_limit": 1}


class Editor:
    """Changes faces in pictures.

    Args:
        studio: the models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._ready: Remembered[ReadyPortrait] = Remembered(KEPT_READY)

    def edit(self, picture: np.ndarray, values: Mapping[str, float]) -> np.ndarray:
        """Return a picture (H, W, 3) uint8 with another expression, head pose or gaze.

        Raises:
            NoFaceError: it shows no face.
        """
        from ..animation.retargeting import Changes, Retargeter

        pipe = self._studio.pipe
        ready = self._ready.get(key_of(picture), lambda: pipe.ready(self._studio.portrait(picture)))
        motion = posed(ready.portrait.motion, values)
        changes = Changes.checked(relative=False, edit=blendshapes(values), regions=None, fps=motion.fps)
        _, landmarks = Retargeter(ready.portrait, changes, pipe.face_model)(motion)
        return ready.frames(landmarks)[0]


def edit_tab(context: TabContext) -> None:
    editor = Editor(context.studio)
    lead("A photo and sliders: another expression, another look. The picture follows as you move them.")
    with gr.Row(elem_classes="sf-sides sf-edit"):
        with gr.Column(elem_classes="sf-in"):
            photo = photo_field(context, "edit", height=200)
            consent = consent_box("edit")
            with gr.Row(elem_classes="sf-presets"):
                presets = [gr.Button(name, size="sm", min_width=70) for name in PRESETS]
                reset = gr.Button("Reset", size="sm", min_width=70, elem_id="edit-reset")
            sliders = _slider_fields()
            label = label_choice()
        with gr.Column(elem_classes="sf-out sf-beside"):
            preview = gr.Image(
                context.examples["edit"], label="Result (synthetic)", interactive=False, height=440, buttons=["fullscreen"],
                elem_id="edit-preview", elem_classes="sf-result",
            )  # fmt: skip
            save, stop, example = run_buttons("edit", "Make the picture file")
            stop.visible = False
            download = gr.DownloadButton(
                "Download the picture", interactive=False, elem_id="edit-download", elem_classes="sf-after"
            )
            with gr.Accordion("Settings used", open=False, elem_classes="sf-after"):
                settings = gr.JSON(show_label=False, label="Settings used", elem_id="edit-settings")
    picture = gr.Image(visible=False, label="Picture", type="filepath")

    def change(photo: str, consent: bool, values: tuple[float, ...]) -> np.ndarray:
        context.check_consent(consent, needed(photo, "a photo"))
        return editor.edit(read_picture(photo, context.limits), dict(zip(NAMES, values, strict=True)))

    @for_visitors
    @on_gpu
    def show(photo: str | None, consent: bool, label: bool, *values: float) -> str | None:
        """Return the preview as a JPEG, which is written faster than a PNG. Consent is checked only once a slider has
        been moved."""
        if photo is None or not (consent or any(values)):
            return None
        return _written(change(photo, consent, values), "preview.jpg", label)

    @for_visitors
    @on_gpu
    @_described
    def edit(photo: str, consent: bool, label: bool, *values: float) -> tuple[str, dict[str, Any]]:
        began = time.monotonic()
        result = change(photo, consent, values)
        chosen = {name: value for name, value in zip(NAMES, values, strict=True) if value}
        size = f"{result.shape[1]} x {result.shape[0]} pixels"
        path = _written(result, "edited.png", label)
        took = f"{time.monotonic() - began:.1f} seconds"
        return path, {**chosen, "label": label, "size": size, "time it took": took, "synthetic": True}

    inputs = [photo, consent, label, *sliders]
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    following = {**hidden, **PREVIEWING, "trigger_mode": "always_last"}
    gr.on(
        [photo.change, label.input, consent.input, *(slider.input for slider in sliders)], show,
        inputs, preview, **following,
    )  # fmt: skip
    for button, values in zip([reset, *presets], [{}, *PRESETS.values()], strict=True):
        moved = button.click(partial(_slider_values, values), None, sliders, **hidden)
        moved.then(show, inputs, preview, **following)
    example.click(lambda: context.examples["photo"], None, photo, **hidden).then(
        partial(_slider_values, PRESETS["Surprise"]), None, sliders, **hidden
    ).then(show, inputs, preview, **following)
    event = save.click(edit, inputs, [picture, settings], api_name="edit", **PREVIEWING)
    event.success(lambda path: gr.update(value=path, interactive=True), picture, download, **hidden)


def _slider_fields() -> list[gr.Slider]:
    fields = {}
    for group in GROUPS:
        with gr.Accordion(group, open=group in ("Mouth", "Head"), elem_classes="sf-sliders"):
            for slider in SLIDERS:
                if slider.group == group:
                    fields[slider.name] = gr.Slider(
                        slider.lowest, 1, 0, step=0.05, label=slider.label, elem_id=f"edit-{slider.name}"
                    )
    return [fields[name] for name in NAMES]


def _slider_values(values: Mapping[str, float]) -> list[float]:
    return [values.get(name, 0.0) for name in NAMES]


def _written(picture: np.ndarray, name: str, label: bool) -> str:
    from ..media import save_picture

    path = result_path(name)
    save_picture(path, picture, label)
    return str(path)


def _described(function: Any) -> Any:
    """Add docstring and signature to the endpoint, with one argument for each slider."""
    lines = "\n".join(f"    {slider.name}: {slider.label.lower()}, {slider.lowest:g} to 1." for slider in SLIDERS)
    function.__doc__ = (
        "Changes expression, gaze and head pose in a photo.\n\nArgs:\n    photo: a picture with a face.\n"
        '    consent: true: the person shown agreed.\n    label: write "AI-generated" on the picture.\n'
        f"{lines}\n\nReturns:\n    The picture (PNG), and the settings it was made with.\n"
    )
    kinds = {"photo": str, "consent": bool, "label": bool, **dict.fromkeys(NAMES, float)}
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
            for name, kind in kinds.items()
        ]
    )
    return function
