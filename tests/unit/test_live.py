"""A live face: sound and mouth in step, silence after an interruption, idle while it listens, dropped pictures."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from test_student import made_student, trained_a_little

from superface_hf import SuperFaceStudentConfig, SuperFaceStudentModel
from superface_hf.drivers.loudness import LoudnessNormalizer
from superface_hf.errors import MediaError
from superface_hf.integrations import LiveFace, LiveSession
from superface_hf.media import load_sound
from superface_hf.utils.assets import SPEECH

RATE, FPS = 24000, 25


@pytest.fixture(scope="module")
def student(face_points) -> SuperFaceStudentModel:
    torch.manual_seed(0)
    return trained_a_little(made_student(SuperFaceStudentConfig.of_size("tiny"), smooth_picture(), face_points()))


@pytest.fixture(scope="module")
def face(student) -> LiveFace:
    return LiveFace(student)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_sound(SPEECH).mono(RATE)[: round(1.2 * RATE)]


def said(live: LiveSession) -> list:
    """The parts of an utterance, the first part of which may come after idle ones."""
    parts = []
    for part in live:
        if part.speaking:
            parts.append(part)
        if part.ends:
            return parts
    raise AssertionError("the session ended")


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_sound_and_mouth_are_in_step(face, speech, rate):
    sound = load_sound(SPEECH).mono(rate)[: round(1.2 * rate)]
    with face.session(RATE) as live:
        for start in range(0, len(sound), 1000):
            live.push(sound[start : start + 1000], rate)
        live.end()
        parts = said(live)
    heard = np.concatenate([part.sound for part in parts]) / 32768
    assert np.abs(heard[: len(speech)] - speech)[200:-200].max() < 0.02
    assert not heard[len(speech) + 50 :].any()
    # Each picture shows the mouth that belongs to the sound of its time, also where pictures were dropped.
    ears = face.pipe.audio_to_lip
    level = LoudnessNormalizer(ears.config.sampling_rate)
    expected = ears.predict(level.push(load_sound(SPEECH).mono(16000)[: round(1.2 * 16000)]), FPS, 40)
    shown = np.cumsum([part.frames for part in parts]) - [part.frames - part.frames // 2 for part in parts]
    error = [np.abs(part.mouth - expected[frame]).max() for part, frame in zip(parts, shown, strict=True) if frame < 28]
    late = [
        np.abs(part.mouth - expected[frame + 1]).max() for part, frame in zip(parts, shown, strict=True) if frame < 28
    ]
    assert len(error) > 3
    assert max(error) < 0.05 < max(late)


@pytest.mark.parametrize("slow", [0.0, 0.1])
def test_an_interruption_shuts_the_mouth_in_the_next_picture(face, speech, monkeypatch, slow):
    frames, drawn = type(face.ready).frames, []

    def counted(self, landmarks, *behind):
        drawn.append(None)
        time.sleep(slow)
        return frames(self, landmarks, *behind)

    monkeypatch.setattr(type(face.ready), "frames", counted)
    with face.session(RATE) as live:
        live.push(np.tile(speech, 4), RATE)
        spoken = 0
        while spoken < 8:
            part = live.next()
            spoken += part.frames * part.speaking
        assert np.abs(part.mouth - face.shut).max() > 0.1
        before = len(drawn)  # among them the one that is being drawn
        live.interrupt()
        part = live.next()
        assert not part.speaking
        assert not part.sound.any()
        assert np.abs(part.mouth - face.shut).max() < 1e-3
        # That with the shut mouth, and those that were begun before this thread came to interrupt, or after it was told.
        assert len(drawn) - before <= (2 if slow else 3)
        # And it speaks again.
        live.push(speech, RATE)
        live.end()
        assert sum(part.frames for part in said(live)) >= 30


def test_the_picture_after_an_interruption_does_not_wait_for_its_time(student):
    with LiveFace(student, fps=0.5).session(RATE) as live:
        live.push(np.tile(load_sound(SPEECH).mono(RATE), 2), RATE)
        while not live.next().speaking:
            pass
        live.interrupt()
        interrupted = time.monotonic()
        assert not live.next().speaking
        assert time.monotonic() - interrupted < 1.0  # half a frame


def test_a_face_idles_while_it_listens(face):
    with face.session(RATE) as live:
        parts = [live.next() for _ in range(25)]
    assert not any(part.sound.any() or part.speaking for part in parts)
    assert all(np.abs(part.mouth - face.shut).max() < 1e-3 for part in parts)
    assert any((parts[0].picture != part.picture).any() for part in parts)


def test_a_machine_that_is_too_slow_drops_pictures_and_no_sound_and_says_so_once(face, speech, monkeypatch):
    frames = type(face.ready).frames
    monkeypatch.setattr(type(face.ready), "frames", lambda self, *args: (time.sleep(0.1), frames(self, *args))[1])
    monkeypatch.setattr("superface_hf.integrations.live.logger.warning", lambda text: said_so.append(text))
    said_so: list[str] = []
    with face.session(RATE) as live:
        live.push(speech, RATE)
        live.end()
        start = time.monotonic()
        parts = said(live)
        took = time.monotonic() - start
    total = sum(part.frames for part in parts)
    lead = total - round(len(speech) / RATE * FPS) - 5  # a part may begin before the speech and end after it
    assert 0 <= lead <= parts[0].frames + parts[-1].frames
    assert len(parts) < 0.6 * total
    assert all(len(part.sound) == part.frames * RATE // FPS for part in parts)
    heard = np.concatenate([part.sound for part in parts]) / 32768
    starts = [frame * RATE // FPS for frame in range(lead + 1)]
    assert min(np.abs(heard[start : start + len(speech)] - speech).max() for start in starts) < 1e-3
    assert took < total / FPS + 1.0  # it does not drift
    assert live.dropped > 0
    assert len(said_so) == 1


def test_speech_without_an_end_ends_by_itself_and_loses_nothing(face, speech):
    with face.session(RATE) as live:
        live.push((speech * 32767).astype(np.int16)[: RATE // 10, None], RATE)
        heard = np.concatenate([part.sound for part in said(live)])
    assert np.abs(heard[: RATE // 10] / 32768 - speech[: RATE // 10]).max() < 1e-3


def test_several_at_once_say_what_each_was_told(face, speech):
    async def listen(live: LiveSession) -> np.ndarray:
        sounds = []
        async for part in live.parts():
            sounds += [part.sound] * part.speaking
            if part.ends:
                break
        return np.concatenate(sounds) / 32768

    async def both() -> list[np.ndarray]:
        with face.session(RATE) as one, face.session(RATE) as other:
            one.push(speech, RATE)
            other.push(speech[::-1], RATE)
            one.end(), other.end()
            return await asyncio.gather(listen(one), listen(other))

    one, other = asyncio.run(both())
    assert np.abs(one[: len(speech)] - speech).max() < 1e-3
    assert np.abs(other[: len(speech)] - speech[::-1]).max() < 1e-3


def test_a_pipeline_will_do_and_another_background_stands_behind_the_person(face):
    with LiveFace(face.pipe, background="#10c83c").session(RATE) as green, face.session(RATE) as own:
        corners = [live.next().picture[:8, :8].reshape(-1, 3).astype(int).mean(0) for live in (green, own)]
    assert np.abs(corners[0] - (16, 200, 60)).max() < 8
    assert np.abs(corners[1] - (16, 200, 60)).max() > 30
    with pytest.raises(MediaError, match="has a background"):
        LiveFace(face.pipe, background="transparent")


def test_what_is_no_speech_is_refused(face):
    with face.session(RATE) as live:
        for wrong in (np.zeros(5, np.int32), np.zeros((2, 2, 2), np.float32), np.array([np.nan])):
            with pytest.raises(MediaError):
                live.push(wrong, RATE)
        live.end()  # of nothing
    assert live.next() is None


def test_whatever_stops_a_session_is_raised_where_its_parts_are_taken(face, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no memory for a frame")

    monkeypatch.setattr(type(face.ready), "frames", broken)
    live = face.session(RATE)
    with pytest.raises(RuntimeError, match="no memory"):
        list(live)
    live.close()
