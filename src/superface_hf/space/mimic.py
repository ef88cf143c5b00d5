"""The tab *Mimic*: photo + driving video -> video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from .device import on_gpu
from .film import Take, screening
from .limits import read_picture, read_video, watched
from .look import lead
from .messages import for_visitors, needed
from .parts import (
    FILMING,
    Room,
    consent_box,
    label_choice,
    photo_field,
    run_buttons,
    stop_with,
    video_field,
    video_result,
)


def mimic_tab(room: Room) -> None:
    lead("A photo and a video of somebody: the person in the photo moves and speaks like the one in the video.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            with gr.Row():
                with gr.Column(min_width=200):
                    photo = photo_field(room, "mimic")
                with gr.Column(min_width=200):
                    video = video_field(room, "mimic", "Video to imitate")
            consent = consent_box("mimic")
            run, stop, example = run_buttons("mimic", "Imitate")
            with gr.Accordion("More choices", open=False):
                own = gr.Checkbox(
                    True,
                    label="Start from the photo’s own expression",
                    info="Best when the video starts with a calm face. Without it, the video’s expression is taken exactly.",
                )
                label = label_choice()
        with gr.Column(elem_classes="sf-out"):
            result = video_result("mimic", room.examples["mimic"])

    @for_visitors
    @on_gpu
    def mimic(
        photo: str, video: str, consent: bool, own_expression: bool = True, label: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Lets a photo move like the person in a video.

        Args:
            photo: a picture with a face.
            video: a video of one person; its sound is kept.
            consent: true: the person in the photo agreed to be animated.
            own_expression: start from the photo's expression; false takes the video's exactly.
            label: write "AI-generated" on every frame.

        Returns:
            The video, and the settings it was made with.
        """
        from ..drivers.video import video_to_motion

        stages = room.stages(progress)
        stages.say("Looking at the photo")
        room.check_consent(consent, needed(photo, "a photo"))
        picture = read_picture(photo, room.limits)
        reader = read_video(needed(video, "a video to imitate"), room.limits)
        pipe = room.studio.pipe
        room.studio.portrait(picture)  # a photo without a face is told before the video is watched
        yield gr.skip(), gr.skip()
        frames = watched(iter(reader), reader.fps, room.limits)
        seen = stages.over(frames, "Watching the video", reader.frame_count)
        motion = video_to_motion(seen, reader.fps, pipe.tracker, pipe.face_model).motion
        yield gr.skip(), gr.skip()
        drawn = pipe.stream(picture, motion=motion, relative=own_expression)
        take = Take("imitating", drawn, reader.fps, len(motion), reader.sound_reader(), label)
        yield from screening(take, stages, {"start from the photo's own expression": own_expression})

    inputs = [photo, video, consent, own, label]
    event = run.click(mimic, inputs, result.outputs, api_name="mimic", **FILMING)
    result.offer(event)
    chosen = example.click(
        lambda: (room.examples["photo"], room.examples["video"]), None, [photo, video], api_visibility="private"
    )
    shown = chosen.success(mimic, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])
