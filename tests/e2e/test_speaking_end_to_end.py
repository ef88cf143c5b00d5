"""The photograph speaks the bundled sentence, with the embedded weights, offline."""

from __future__ import annotations

import subprocess
import sys
import time
import wave

import numpy as np
import pytest

from superface_hf.drivers.audio import follow_speech, speech_to_motion
from superface_hf.drivers.idle import IdleMotion
from superface_hf.face_model.lips import CLOSED, mouth_opening
from superface_hf.media import Sound, VideoReader, load_sound
from superface_hf.utils.assets import PORTRAIT, SPEECH

pytestmark = pytest.mark.e2e
RATE = 16000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """(N,) at 16 kHz."""
    return load_sound(SPEECH).mono()


def rendered_gap(pipe, frames) -> np.ndarray:
    """How far the inner lips are apart in rendered frames, in distances between the outer eye corners."""
    points = np.stack([pipe.tracker.find_faces(frame)[0].landmarks for frame in frames])
    eyes = np.linalg.norm(points[:, 263, :2] - points[:, 33, :2], axis=-1)
    return (points[:, 14, 1] - points[:, 13, 1]) / eyes


def test_a_smiling_photograph_shuts_its_mouth_in_silence_and_opens_it_to_speak(pipe, astronaut, speech):
    """The portrait shows its teeth; it hears a third of a second of silence, and a quarter of a second of speech."""
    face = astronaut[0:256, 96:352]
    quiet = np.zeros(RATE * 32 // 100, np.float32)
    loud = speech[round(1.9 * RATE) : round(2.14 * RATE)]
    clip = pipe(face, audio=np.concatenate([quiet, loud]), sampling_rate=RATE, idle=False)
    before, *gaps = rendered_gap(pipe, [face, *clip.frames[::2]])
    # The tracker takes the gloss of shut lips for a small gap.
    assert before > 0.08
    assert max(gaps[:3]) < 0.4 * before
    assert max(gaps[4:]) > max(gaps[:3]) + 0.03


def test_silence_keeps_the_mouth_closed_and_speech_opens_it(pipe, speech):
    silence = Sound(np.zeros(3 * RATE, np.float32), RATE)
    assert (mouth_opening(speech_to_motion(silence, 25, pipe.audio_to_lip).mouth) < CLOSED).all()
    opening = mouth_opening(speech_to_motion(Sound(speech, RATE), 25, pipe.audio_to_lip).mouth)
    assert opening.max() > 0.1
    assert 0.1 < (opening < CLOSED).mean() < 0.6


def test_the_audio_part_is_far_faster_than_real_time(pipe, speech):
    sound = Sound(np.tile(speech, 4), RATE)
    speech_to_motion(sound, 25, pipe.audio_to_lip, IdleMotion())
    started = time.process_time()
    speech_to_motion(sound, 25, pipe.audio_to_lip, IdleMotion())
    assert sound.seconds / (time.process_time() - started) > 10  # about 100; the bound is wide, for slow machines


def test_the_first_motion_frame_comes_within_300_ms(pipe, speech):
    chunks = [speech[start : start + 320] for start in range(0, RATE, 320)]
    left = iter(chunks)
    stream = follow_speech((chunk for chunk in left), 25, pipe.audio_to_lip, IdleMotion())
    started = time.process_time()  # a busy machine must not fail this
    next(stream)
    computed = time.process_time() - started
    heard = 0.02 * (len(chunks) - len(list(left)))
    assert heard + computed < 0.3


def test_the_installed_command_makes_a_photograph_speak(speech, tmp_path):
    out = tmp_path / "out.mp4"
    with wave.open(str(tmp_path / "word.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(speech[RATE : RATE + 4800] * 32767).astype(np.int16).tobytes())
    command = [sys.executable, "-m", "superface_hf.cli", "generate", PORTRAIT, "--audio", tmp_path / "word.wav"]
    subprocess.run([*command, "-o", out], check=True, timeout=300)
    reader = VideoReader(out)
    assert len(list(reader)) == 8
    assert reader.sound().seconds == pytest.approx(0.3, abs=0.1)
