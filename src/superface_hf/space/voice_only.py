"""The tab *Voice only*: a recording -> four made-up faces, and one of them says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..provenance.marks import DISCLAIMER, MADE_UP
from .device import on_gpu
from .limits import read_sound
from .look import lead, note
from .made_up import AGES, FACES, NO_EMOTION, SEEDS, FaceChoice, FaceDrawer, as_settings, emotions, in_words
from .messages import for_visitors, needed
from .parts import FILMING, LOOKING, TabContext, label_choice, run_buttons, sound_field, stop_with, video_result
from .video_file import VideoPlan, result_path, video_output

FPS = 25
HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# What a slider says of the faces, and who says it instead while its tick is set: range, value, step and words of both.
VOICE, CHANCE = "As the voice sounds", "By chance"
SLIDERS: dict[str, tuple[float, float, float, float, str, str]] = {
    "presentation": (0, 1, 0.5, 0.05, "Feminine – masculine", VOICE),
    "age": (*AGES, 40, 1, "Age in years", VOICE),
    "tone": (0, 1, 0.5, 0.05, "Skin, light – dark", CHANCE),
    "beta": (0, 1, 1, 0.05, "How far the faces follow the voice", "As far as it is clear"),
}
DIGITS = {"presentation": 2, "age": 0, "tone": 2}  # of the sliders that show what was drawn


def voice_only_tab(context: TabContext) -> None:
    drawer = FaceDrawer(context.studio)
    lead("A recording and no photo: four made-up faces that suit the voice. One of them says it.")
    with gr.Row(elem_classes="sf-sides"):
        with gr.Column(elem_classes="sf-in"):
            speech = sound_field(context, "voice")
            gallery, heard, number, others = _face_fields()
            run, stop, example = run_buttons("voice", "Let it speak")
            sliders, ticks, temperature, seed = _choices()
            with gr.Accordion("How it speaks", open=False):
                emotion = gr.Radio(
                    [NO_EMOTION, *emotions()], value=NO_EMOTION, label="Emotion", elem_id="voice-emotion"
                )
                emotion_strength = gr.Slider(0, 1.5, 0.6, step=0.1, label="How strong the emotion is")
                liveliness = gr.Slider(0, 2, 1, step=0.1, label="How lively head and eyes move (0 keeps them still)")
                label = label_choice()
        with gr.Column(elem_classes="sf-out"):
            result = video_result("voice", context.examples["voice"])

    @for_visitors
    @on_gpu
    def show(speech: str | None, *looks: Any) -> tuple[Any, ...]:
        """Show the four faces, what was heard, and sliders at what the voice or chance decided."""
        if speech is None:
            nothing = gr.update(value=None, visible=False)
            return nothing, nothing, *(gr.skip() for _ in DIGITS)
        from ..media import save_picture

        choice, pictures = _choice(*looks), []
        sound = read_sound(speech, context.limits)
        drawn = [drawer.draw(sound, choice, each) for each in range(FACES)]
        for each, (picture, hearing) in enumerate(drawn, start=1):
            path = result_path(f"made_up_{hearing.seed}.jpg")
            save_picture(path, picture, source_type=MADE_UP)
            pictures.append((str(path), f"Face {each}"))
        hearing = drawn[0][1]
        settled = [_settled(choice, hearing, name) for name in DIGITS]
        told = gr.update(value=note(in_words(hearing), good=True), visible=True)
        return gr.update(value=pictures, visible=True), told, *settled

    @for_visitors
    @on_gpu
    def voice_only(
        speech: str, face: str = "1", seed: int = 0, presentation: float = 0.5, age: float = 40.0, tone: float = 0.5,
        beta: float = 1.0, presentation_heard: bool = True, age_heard: bool = True, tone_drawn: bool = True,
        beta_heard: bool = True, temperature: float = 0.7, emotion: str = NO_EMOTION, emotion_strength: float = 0.6,
        liveliness: float = 1.0, label: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - this is how gradio finds it
    ) -> Iterator[tuple[Any, Any]]:  # fmt: skip
        """Draw a made-up face that suits a voice, and lets it speak. It is not what the speaker looks like.

        Args:
            speech: a recording of the words.
            face: "1" to "4": the four faces have the numbers seed to seed + 3.
            seed: 0 to 9999, which of the possible faces.
            presentation: 0 (feminine) to 1 (masculine), where it is not heard.
            age: years, 18 to 90, where it is not heard.
            tone: of the skin, 0 (the lightest) to 1 (the darkest), where it is not drawn.
            beta: how far the face follows what was heard, 0 to 1, where it is not by how clear the voice is.
            presentation_heard: take it from the voice.
            age_heard: take it from the voice.
            tone_drawn: draw the tone by the seed; it is never heard.
            beta_heard: follow the voice as far as it is clear.
            temperature: how different from the average the face is, 0 to 1.5.
            emotion: "none", or a name.
            emotion_strength: 0 to 1.5.
            liveliness: 0 to 2, how much head and eyes move.
            label: write "AI-generated" on every frame.

        Returns:
            The video, and the settings it was made with.
        """
        stages = context.stages(progress)
        stages.say("Listening and drawing the face")
        sound = read_sound(needed(speech, "a recording"), context.limits)
        choice = _choice(
            seed, presentation, age, tone, beta, presentation_heard, age_heard, tone_drawn, beta_heard, temperature
        )
        picture, hearing = drawer.draw(sound, choice, int(face) - 1)
        stages.say("Getting ready")
        moved: dict[str, Any] = {"idle": liveliness}
        if emotion != NO_EMOTION:
            moved = {"emotion": {emotion: emotion_strength}, "strength": liveliness}
        frames = context.studio.pipe.stream(
            picture, audio=sound, seed=hearing.seed, fps=FPS, limit=context.limits.work, **moved
        )
        length = max(1, round(sound.seconds * FPS))
        plan = VideoPlan("made_up", frames, FPS, length, sound, label, source_type=MADE_UP)
        yield from video_output(plan, stages, {"face": face, "emotion": emotion, **as_settings(hearing, choice)})

    looks = [seed, *sliders.values(), *ticks.values(), temperature]
    for name, slider in sliders.items():  # who moves a slider wants it to count
        slider.input(lambda: False, None, ticks[name], **HIDDEN)
    gr.on(
        [speech.change, seed.change, temperature.input, *(tick.change for tick in ticks.values()),
         *(slider.input for slider in sliders.values())],
        show, [speech, *looks], [gallery, heard, *(sliders[name] for name in DIGITS)],
        trigger_mode="always_last", **LOOKING, **HIDDEN,
    )  # fmt: skip
    gallery.select(_number_of, None, number, **HIDDEN)
    others.click(lambda seed: (int(seed) + FACES) % (SEEDS + 1), seed, seed, **HIDDEN)

    inputs = [speech, number, *looks, emotion, emotion_strength, liveliness, label]
    event = run.click(voice_only, inputs, result.outputs, api_name="voice_only", **FILMING)
    result.offer(event)
    chosen = example.click(lambda: context.examples["speech"], None, speech, api_visibility="private")
    shown = chosen.success(voice_only, inputs, result.outputs, api_visibility="private", **FILMING)
    result.offer(shown)
    stop_with(stop, [event, chosen, shown])


def _face_fields() -> tuple[gr.Gallery, gr.HTML, gr.Radio, gr.Button]:
    gallery = gr.Gallery(
        label="Made-up faces (synthetic)", show_label=False, visible=False, interactive=False, columns=FACES,
        allow_preview=False, height="auto", object_fit="cover", buttons=[], elem_id="voice-faces", elem_classes="sf-faces",
    )  # fmt: skip
    heard = gr.HTML(visible=False, elem_id="voice-heard", elem_classes="sf-plain")
    gr.HTML(f'<p class="sf-hint">{DISCLAIMER}</p>', elem_classes="sf-plain", elem_id="voice-disclaimer")
    with gr.Row(elem_classes="sf-choose"):
        names = [str(each) for each in range(1, FACES + 1)]
        number = gr.Radio(
            names, value="1", label="The face that speaks", elem_id="voice-number", scale=3, min_width=240
        )
        others = gr.Button("Four other faces", size="sm", min_width=130, elem_id="voice-others", elem_classes="sf-run")
    return gallery, heard, number, others


def _choices() -> tuple[dict[str, gr.Slider], dict[str, gr.Checkbox], gr.Slider, gr.Slider]:
    """Make the sliders for what the voice or chance would decide, the ticks that leave it to them, and what else can be
    asked for."""
    sliders, ticks = {}, {}
    with gr.Accordion("What the faces look like", open=False, elem_classes="sf-sliders"):
        for name, (low, high, value, step, words, left) in SLIDERS.items():
            with gr.Row():
                sliders[name] = gr.Slider(
                    low, high, value, step=step, label=words, elem_id=f"voice-{name}", scale=2, min_width=250
                )
                ticks[name] = gr.Checkbox(True, label=left, elem_id=f"voice-{name}-left", scale=1, min_width=160)
        temperature = gr.Slider(
            0, 1.5, 0.7, step=0.05, label="How different from the average they are", elem_id="voice-temperature"
        )
        seed = gr.Slider(0, SEEDS, 0, step=1, label="Number of the first face (seed)", elem_id="voice-seed")
    return sliders, ticks, temperature, seed


def _choice(seed: float, *rest: Any) -> FaceChoice:
    """Return the choice from the seed, a value and a tick for each of ``SLIDERS``, and the temperature."""
    values, ticks, (temperature,) = rest[: len(SLIDERS)], rest[len(SLIDERS) : -1], rest[-1:]
    wishes = {name: None if tick else float(value) for name, value, tick in zip(SLIDERS, values, ticks, strict=True)}
    return FaceChoice(**wishes, temperature=float(temperature), seed=int(seed))


def _settled(choice: FaceChoice, hearing: Any, name: str) -> Any:
    """Return what a slider shows that its visitor did not move."""
    return gr.skip() if getattr(choice, name) is not None else round(float(getattr(hearing.drawn, name)), DIGITS[name])


def _number_of(chosen: gr.SelectData) -> str:
    """Return the number of the face that was clicked."""
    index = chosen.index
    return str(index + 1) if isinstance(index, int) and 0 <= index < FACES else "1"
