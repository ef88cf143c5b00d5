"""The tab *Mimic*: photo + driving video -> video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..animation.retargeting import Relative
from .background import FIRST_COLOUR, PICTURE, TRANSPARENT, background_of, in_settings
from .device import on_gpu
from .limits import read_picture, read_video, watched
from .live_mimic import live_part
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
    stop_with,
    video_field,
    video_result,
)
from .video_file import VideoPlan, video_output

WHOM = {
    "largest": "the largest face",
    "speaking": "the person who speaks",
    "1": "the second largest face",
    "2": "the third",
}


def mimic_tab(context: TabContext) -> None:
    lead("A photo and a video of another person: the person in the photo moves and speaks like the one in the video.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            with gr.Row():
                with gr.Column(min_width=200):
                    photo = photo_field(context, "mimic")
                with gr.Column(min_width=200):
                    video = video_field(context, "mimic", "Video to imitate")
            consent = consent_box("mimic")
            run, stop, example = run_buttons("mimic", "Imitate")
            with gr.Accordion("More choices", open=False):
                own = gr.Checkbox(
                    True,
                    label="Start from the photo’s own pose and expression",
                    info="Lips always do what those in the video do. Without it, head, eyes and brows are taken exactly too.",
                )
                whom = gr.Radio(
                    [(words, name) for name, words in WHOM.items()],
                    value="largest",
                    label="Who is imitated, where the video shows several people",
                )
                background, colour = background_choice(context, "mimic")
                label = label_choice()
        with gr.Column(elem_classes="sf-out"):
            result = video_result("mimic", context.examples["mimic"])
    live_part(context, photo, consent, own, background, colour)

    @for_visitors
    @on_gpu
    def mimic(
        photo: str, video: str, consent: bool, own_expression: bool = True, label: bool = False,
        driving_face: str = "largest", background: str = PICTURE, colour: str = FIRST_COLOUR,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Let a photo move like the person in a video.

        Args:
            photo: a picture with a face.
            video: a video of one person; its sound is kept.
            consent: true: the person in the photo agreed to be animated.
            own_expression: start from the photo's pose and expression; false takes the video's exactly.
            label: write "AI-generated" on every frame.
            driving_face: who is imitated: "largest", "speaking", or "0", "1", "2" for one of several people, "0" the largest.
            background: "picture" (what the photo shows), "blur", "colour", or "transparent", which gives a WebM.
            colour: with "colour", which: "#20304a".

        Returns:
            The video, and the settings it was made with.
        """
        from ..drivers.watching import watch_video

        stages = context.stages(progress)
        stages.say("Looking at the photo")
        context.check_consent(consent, needed(photo, "a photo"))
        behind = background_of(background, colour)
        whose: Any = int(driving_face) if driving_face.isdecimal() else driving_face
        picture = read_picture(photo, context.limits)
        reader = read_video(needed(video, "a video to imitate"), context.limits)
        pipe = context.studio.pipe
        context.studio.portrait(picture)  # refuses a photo without a face before the video is watched
        yield gr.skip(), gr.skip()
        frames = watched(iter(reader), reader.fps, context.limits)
        seen = stages.over(frames, "Watching the video", reader.frame_count)
        driven = watch_video(reader, pipe.tracker, pipe.face_model, whose, seen)
        yield gr.skip(), gr.skip()
        relative: Relative = "auto" if own_expression else False
        drawn = pipe.stream(picture, motion=driven, relative=relative, background=behind, limit=context.limits.work)
        sound = reader.sound_reader()
        plan = VideoPlan(
            "imitating", drawn, reader.fps, len(driven.motion), sound, label, transparent=behind == TRANSPARENT
        )
        settings = {
            "start from the photo's own expression": own_expression,
            "who is imitated": driving_face,
            "background": in_settings(background, colour),
        }
        yield from video_output(plan, stages, settings)

    inputs = [photo, video, consent, own, label, whom, background, colour]
    event = run.click(mimic, inputs, result.outputs, api_name="mimic", **FILMING)
    result.offer(event)
    chosen = example.click(
        lambda: (context.examples["photo"], context.examples["video"]), None, [photo, video], api_visibility="private"
    )
    shown = chosen.success(mimic, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])
