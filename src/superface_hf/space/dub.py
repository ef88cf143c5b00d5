"""The tab *Dub*: a video + new speech -> the video with another mouth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from .device import on_gpu
from .limits import read_sound, read_video, sized
from .look import lead
from .messages import for_visitors, needed
from .parts import (
    FILMING,
    TabContext,
    consent_box,
    label_choice,
    run_buttons,
    sound_field,
    stop_with,
    video_field,
    video_result,
)
from .video_file import VideoPlan, video_output

if TYPE_CHECKING:
    from ..pipelines.dubbing import WhenShort

WHEN_LONGER: dict[str, str] = {
    "bounce": "play the video back and forth",
    "hold": "hold the last picture",
    "stop": "end with the video",
}


def dub_tab(context: TabContext) -> None:
    lead("A video and a new recording: the same video, saying the new words. Only the mouth changes.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            video = video_field(context, "dub", "Video")
            speech = sound_field(context, "dub")
            consent = consent_box("dub")
            run, stop, example = run_buttons("dub", "Give it new words")
            with gr.Accordion("More choices", open=False):
                when_longer = gr.Radio(
                    [(words, name) for name, words in WHEN_LONGER.items()],
                    value="bounce",
                    label="Where the recording is longer than the video",
                )
                label = label_choice()
        with gr.Column(elem_classes="sf-out"):
            result = video_result("dub", context.examples["dub"])

    @for_visitors
    @on_gpu
    def dub(
        video: str, speech: str, consent: bool, when_longer: str = "bounce", label: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Give a video new words.

        Args:
            video: a video of one person.
            speech: a recording of the new words.
            consent: true: the person in the video agreed to be animated.
            when_longer: what the video does that is shorter than the speech: "bounce", "hold" or "stop".
            label: write "AI-generated" on every frame.

        Returns:
            The video, and the settings it was made with.
        """
        stages = context.stages(progress)
        stages.say("Looking at the video and listening")
        context.check_consent(consent, needed(video, "a video"))
        reader = read_video(video, context.limits)
        sound = read_sound(needed(speech, "a recording"), context.limits)
        frames = context.studio.pipe.stream(
            None, video=video, audio=sound, when_short=cast("WhenShort", when_longer), limit=context.limits.work
        )
        longest = max(reader.frame_count or 0, round(sound.seconds * reader.fps))
        total = reader.frame_count if when_longer == "stop" else longest
        plan = VideoPlan("dubbed", sized(frames, context.limits), reader.fps, total, sound, label)
        yield from video_output(plan, stages, {"where the recording is longer": WHEN_LONGER[when_longer]})

    inputs = [video, speech, consent, when_longer, label]
    event = run.click(dub, inputs, result.outputs, api_name="dub", **FILMING)
    result.offer(event)
    chosen = example.click(
        lambda: (context.examples["mimic"], context.examples["speech"]), None, [video, speech], api_visibility="private"
    )
    shown = chosen.success(dub, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])
