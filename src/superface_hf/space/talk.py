"""The tab *Talk*: photo + speech -> video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from .background import FIRST_COLOUR, PICTURE, TRANSPARENT, background_of, in_settings
from .device import on_gpu
from .limits import read_picture, read_sound
from .look import lead
from .messages import for_visitors, needed
from .parts import (
    FILMING,
    TabContext,
    background_choice,
    consent_box,
    label_choice,
    photo_field,
    run_buttons,
    sound_field,
    stop_with,
    video_result,
)
from .video_file import VideoPlan, video_output

FPS = 25


def talk_tab(context: TabContext) -> None:
    lead("A photo and a recording: the person in the photo says it.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            photo = photo_field(context, "talk")
            speech = sound_field(context, "talk")
            consent = consent_box("talk")
            run, stop, example = run_buttons("talk", "Make it talk")
            with gr.Accordion("More choices", open=False):
                liveliness = gr.Slider(0, 2, 1, step=0.1, label="How lively head and eyes move (0 keeps them still)")
                background, colour = background_choice(context, "talk")
                label = label_choice()
        with gr.Column(elem_classes="sf-out"):
            result = video_result("talk", context.examples["talk"])

    @for_visitors
    @on_gpu
    def talk(
        photo: str, speech: str, consent: bool, liveliness: float = 1.0, label: bool = False,
        background: str = PICTURE, colour: str = FIRST_COLOUR,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Let a photo speak a recording.

        Args:
            photo: a picture with a face.
            speech: a recording of the words.
            consent: true: the person shown agreed to be animated.
            liveliness: 0 to 2, how much head and eyes move.
            label: write "AI-generated" on every frame.
            background: "picture" (what the photo shows), "blur", "colour", or "transparent", which gives a WebM.
            colour: with "colour", which: "#20304a".

        Returns:
            The video, and the settings it was made with.
        """
        stages = context.stages(progress)
        stages.say("Looking at the photo and listening")
        context.check_consent(consent, needed(photo, "a photo"))
        behind = background_of(background, colour)
        picture = read_picture(photo, context.limits)
        sound = read_sound(needed(speech, "a recording"), context.limits)
        stages.say("Getting ready")
        frames = context.studio.pipe.stream(
            picture, audio=sound, idle=liveliness, background=behind, fps=FPS, limit=context.limits.work
        )
        length = max(1, round(sound.seconds * FPS))
        plan = VideoPlan("talking", frames, FPS, length, sound, label, transparent=behind == TRANSPARENT)
        yield from video_output(plan, stages, {"liveliness": liveliness, "background": in_settings(background, colour)})

    inputs = [photo, speech, consent, liveliness, label, background, colour]
    event = run.click(talk, inputs, result.outputs, api_name="talk", **FILMING)
    result.offer(event)
    chosen = example.click(
        lambda: (context.examples["photo"], context.examples["speech"]), None, [photo, speech], api_visibility="private"
    )
    shown = chosen.success(talk, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])
