"""The tab *Dub*: a video + new speech -> the video with another mouth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from .device import on_gpu
from .film import Take, screening
from .limits import read_sound, read_video, sized
from .look import lead
from .messages import for_visitors, needed
from .parts import (
    FILMING,
    Room,
    consent_box,
    label_choice,
    run_buttons,
    sound_field,
    stop_with,
    video_field,
    video_result,
)

if TYPE_CHECKING:
    from ..pipelines.dubbing import WhenShort

WHEN_LONGER: dict[str, str] = {
    "bounce": "play the video back and forth",
    "hold": "hold the last picture",
    "stop": "end with the video",
}


def dub_tab(room: Room) -> None:
    lead("A video and a new recording: the same video, saying the new words. Only the mouth changes.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            video = video_field(room, "dub", "Video")
            speech = sound_field(room, "dub")
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
            result = video_result("dub", room.examples["dub"])

    @for_visitors
    @on_gpu
    def dub(
        video: str, speech: str, consent: bool, when_longer: str = "bounce", label: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Gives a video new words.

        Args:
            video: a video of one person.
            speech: a recording of the new words.
            consent: true: the person in the video agreed to be animated.
            when_longer: what the video does that is shorter than the speech: "bounce", "hold" or "stop".
            label: write "AI-generated" on every frame.

        Returns:
            The video, and the settings it was made with.
        """
        stages = room.stages(progress)
        stages.say("Looking at the video and listening")
        room.check_consent(consent, needed(video, "a video"))
        reader = read_video(video, room.limits)
        sound = read_sound(needed(speech, "a recording"), room.limits)
        frames = room.studio.pipe.stream(
            None, video=video, audio=sound, when_short=cast("WhenShort", when_longer), limit=room.limits.work
        )
        longest = max(reader.frame_count or 0, round(sound.seconds * reader.fps))
        total = reader.frame_count if when_longer == "stop" else longest
        take = Take("dubbed", sized(frames, room.limits), reader.fps, total, sound, label)
        yield from screening(take, stages, {"where the recording is longer": WHEN_LONGER[when_longer]})

    inputs = [video, speech, consent, when_longer, label]
    event = run.click(dub, inputs, result.outputs, api_name="dub", **FILMING)
    result.offer(event)
    chosen = example.click(
        lambda: (room.examples["mimic"], room.examples["speech"]), None, [video, speech], api_visibility="private"
    )
    shown = chosen.success(dub, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])
