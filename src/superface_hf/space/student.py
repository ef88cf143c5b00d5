"""The tab *Student*: a small model of one person talks live; another is made, downloaded or pushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from .background import TRANSPARENT, background_of, in_settings
from .carrying import NotConnected, carried
from .distill import MIN_MINUTES, Distillation, can_distill, new_folder, packed, remove
from .limits import check_picture, read_sound
from .live import AFTER, BEFORE, FPS, LiveTalks, close_up, player, speak
from .look import lead, note
from .messages import for_visitors, needed, told
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
from .progress import in_time
from .students import BUNDLED, OF_THE_HUB, OWN, Students, checked_repo_id
from .video_file import VideoPlan, video_output

CHOICES = (("The one that comes with the app", BUNDLED), ("One of the Hugging Face Hub", OF_THE_HUB), ("My own", OWN))
DISTILLING: dict[str, Any] = {"concurrency_id": "distilling", "concurrency_limit": 1}
# Each takes less than a core.
LIVE: dict[str, Any] = {"concurrency_limit": 2, "show_progress": "minimal"}
LIVE_IS_NOT_TRANSPARENT = "Nothing behind the person is for files; live, the picture’s own background stays."
SPARE = 20.0  # seconds that a call may last longer than what is said, on a busy machine
SPOKEN = "Synthetic speech and picture, drawn live."
KEEP_SECONDS = 3600  # how long a visitor's student is kept


def student_tab(context: TabContext) -> None:
    lead(
        "A student is a small model of one person, a few megabytes in size. It draws faster than you watch, so it can talk "
        "live, on an ordinary computer."
    )
    students, own = Students(context.studio), gr.State(None, time_to_live=KEEP_SECONDS, delete_callback=remove)
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Hear it talk"):
            _talking(context, students, own)
        with gr.Tab("Make a student"):
            _making(context, own)


def _talking(context: TabContext, students: Students, own: gr.State) -> None:
    talks = LiveTalks()
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            kind = gr.Radio(list(CHOICES), value=BUNDLED, label="Which student", elem_id="student-kind")
            repo_id = gr.Textbox(
                label="Its name on the Hub", placeholder="someone/superface-student-alice", max_length=200, visible=False,
                elem_id="student-repo",
            )  # fmt: skip
            speech = sound_field(context, "student")
            consent = consent_box("student", visible=False)
            live, stop, example = run_buttons("student-live", "Talk live")
            with gr.Accordion("More choices", open=False):
                background, colour = background_choice(context, "student", LIVE_IS_NOT_TRANSPARENT)
        with gr.Column(elem_classes="sf-out"):
            screen = player(talks, context.examples["student"])
            with gr.Accordion("Keep it as a video", open=False):
                label = label_choice()
                film = gr.Button("Make a video file", elem_id="student-run", elem_classes="sf-run")
                result = video_result("student", height=300)

    def pick(kind: str, repo_id: str, folder: str | None, consent: bool, speech: str) -> tuple[Any, Any]:
        """Return a student's pipeline, and the sound that it should speak."""
        if kind != BUNDLED:
            context.check_consent(consent, None)
        sound = read_sound(needed(speech, "a recording"), context.limits)
        return students.load(kind, repo_id, folder), sound

    @for_visitors
    def talk_live(
        speech: str, kind: str, repo_id: str, consent: bool, background: str, colour: str, folder: str | None
    ) -> Iterator[dict[str, Any]]:
        """Speak in a call, or where none comes about, as pictures that the page asks for."""
        behind = background_of(background, colour)
        behind = None if behind == TRANSPARENT else behind
        pipe, sound = pick(kind, repo_id, folder, consent, speech)
        if context.calls.usable:
            from ..integrations import LiveFace

            face = LiveFace(pipe, fps=FPS, background=behind)
            longest = min(sound.seconds + BEFORE + AFTER + SPARE, context.limits.job_seconds)
            with suppress(NotConnected), context.calls.invite(with_camera=False) as call:
                yield call.invitation
                for _ in carried(call, lambda: speak(call, face, sound), longest, context.store.stopping):
                    yield gr.skip()
                yield {"ended": SPOKEN}
                return
        frames = pipe.stream(audio=sound, background=behind, fps=FPS, limit=context.limits.work)
        yield talks.begin(close_up(frames, pipe.model.crop), sound)

    @for_visitors
    def student(
        speech: str, kind: str, repo_id: str, consent: bool, label: bool, background: str, colour: str, folder: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Let a student speak a recording.

        Args:
            speech: a recording of the words.
            kind: "bundled", "hub", or "own" (the one made in this session).
            repo_id: with "hub", the student's name, such as "someone/superface-student-alice".
            consent: true: the person agreed to be animated. The bundled student needs none.
            label: write "AI-generated" on every frame.
            background: "picture" (what the student's picture shows), "blur", "colour", or "transparent", which gives a WebM.
            colour: with "colour", which: "#20304a".

        Returns:
            The video, and the settings it was made with.
        """
        stages = context.stages(progress)
        stages.say("Getting the student ready")
        behind = background_of(background, colour)
        pipe, sound = pick(kind, repo_id, folder, consent, speech)
        frames = pipe.stream(audio=sound, background=behind, fps=FPS, limit=context.limits.work)
        length = max(1, round(sound.seconds * FPS))
        plan = VideoPlan("student", frames, FPS, length, sound, label, transparent=behind == TRANSPARENT)
        person = pipe.model.config.person or "one person"
        yield from video_output(plan, stages, {"student": person, "background": in_settings(background, colour)})

    hidden: dict[str, Any] = {"api_visibility": "private"}
    kind.change(
        lambda kind: (gr.update(visible=kind == OF_THE_HUB), gr.update(visible=kind != BUNDLED)),
        kind, [repo_id, consent], **hidden,
    )  # fmt: skip
    live_inputs = [speech, kind, repo_id, consent, background, colour, own]
    begun = live.click(talk_live, live_inputs, screen, **LIVE, **hidden)
    event = film.click(
        student, [speech, kind, repo_id, consent, label, background, colour, own], result.outputs, api_name="student",
        **FILMING,
    )  # fmt: skip
    result.offer(event)
    chosen = example.click(lambda: (context.examples["speech"], BUNDLED), None, [speech, kind], **hidden)
    shown = chosen.success(talk_live, live_inputs, screen, **LIVE, **hidden)
    stop_with(stop, [begun, event, chosen, shown])
    stop.click(lambda: None, None, screen, queue=False, **hidden)


def _making(context: TabContext, own: gr.State) -> None:
    with gr.Row():
        with gr.Column(elem_classes="sf-in"):
            photo = photo_field(context, "distill")
            name = gr.Textbox(label="Name of the person", placeholder="Alice", max_length=40, elem_id="distill-name")
            minutes = gr.Slider(
                MIN_MINUTES, context.limits.distill_minutes, 10, step=1, label="Minutes to spend (more makes it better)",
                elem_id="distill-minutes",
            )  # fmt: skip
            consent = consent_box("distill")
            run, stop, _ = run_buttons("distill", "Make the student", example=False)
        with gr.Column(elem_classes="sf-out"):
            standing = gr.HTML(
                note("Nothing is being made yet.", good=True), elem_id="distill-standing", elem_classes="sf-plain"
            )
            download = gr.DownloadButton("Download the student (zip)", interactive=False, elem_id="distill-download")
            with gr.Accordion("Put it on the Hugging Face Hub", open=False):
                gr.HTML(
                    '<p class="sf-hint">With a token of your own that may write '
                    "(huggingface.co, Settings, Access Tokens). It is used once, and neither kept nor written down.</p>",
                    elem_classes="sf-plain",
                )
                repo_id = gr.Textbox(
                    label="Where to",
                    placeholder="your-name/superface-student-alice",
                    max_length=200,
                    elem_id="push-repo",
                )
                token = gr.Textbox(label="Token", type="password", max_length=200, elem_id="push-token")
                private = gr.Checkbox(True, label="Only I can see it")
                push = gr.Button("Push", elem_id="push-run")
                pushed = gr.HTML(visible=False, elem_id="push-note")

    @for_visitors
    def make(
        photo: str, name: str, minutes: float, consent: bool, previous: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any, Any]]:  # fmt: skip
        if not can_distill():
            raise gr.Error("Students cannot be made on this server: it lacks what training needs.")
        context.check_consent(consent, needed(photo, "a photo"))
        check_picture(photo, context.limits)
        context.guide.must_show_a_face(photo)
        minutes = max(MIN_MINUTES, min(minutes, context.limits.distill_minutes))
        folder = new_folder(needed(name, "the person's name"))
        done = False
        try:
            for now in Distillation(photo, name, minutes, folder).run():
                left = f", about {in_time(now.left)} left" if now.left else ""
                progress(now.share, desc=f"{now.stage}{left}")
                text = f"{now.stage} ({minutes:g} minutes in all{left})."
                yield note(text, good=True), gr.skip(), gr.skip()
            archive = packed(folder)
            remove(previous)
            done = True
            size = f"{archive.stat().st_size / 2**20:.1f} MB"
            ready = f"{name.strip()}’s student is ready ({size}). Choose “My own” to hear it talk."
            yield note(ready, good=True), gr.update(value=str(archive), interactive=True), str(folder)
        finally:
            if not done:
                remove(str(folder))

    event = run.click(
        make,
        [photo, name, minutes, consent, own],
        [standing, download, own],
        api_visibility="private",
        **DISTILLING,
    )
    stop_with(stop, [event])
    stop.click(lambda: note("Stopped.", good=True), None, standing, api_visibility="private", queue=False)
    push.click(
        push_student, [own, repo_id, token, private], [pushed, token], api_visibility="private", concurrency_limit=2
    )


def push_student(folder: str | None, repo_id: str, token: str, private: bool) -> tuple[Any, str]:
    """Push a student to the Hub. It always returns a message instead of raising, so that the token's field is emptied
    in any case."""
    from ..hub import push_checkpoint

    try:
        if folder is None or not Path(folder).is_dir():
            raise gr.Error("There is no student to push: make one first.")
        if not token:
            raise gr.Error("Please paste a token of yours that may write.")
        commit = push_checkpoint(folder, checked_repo_id(repo_id), private=private or None, token=token)
        text, good = f"Pushed: {commit.commit_url}", True
    except Exception as error:
        text, good = told("Pushing a student failed", error, secret=token), False
    return gr.update(value=note(text, good), visible=True), ""
