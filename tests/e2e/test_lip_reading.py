"""The embedded lip reader reads the bundled sentence from the lips of the bundled student."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from superface_hf.hub import weights_folder
from superface_hf.media import load_sound
from superface_hf.metrics.visemes import viseme_error_rate
from superface_hf.models.embedded import embedded_lip_reader
from superface_hf.models.lip_reader import VISEMES, mouths_of
from superface_hf.models.lip_reader.heard_visemes import heard_visemes, viseme_track
from superface_hf.utils.assets import SPEECH

pytestmark = pytest.mark.e2e
FPS = 25.0


@pytest.fixture(scope="module")
def spoken(pipe):
    """What the student's lips show, (T, 48, 72), and what is heard."""
    from transformers import pipeline

    student = pipeline("talking-face", model=str(weights_folder("student")), device="cpu")
    clip = student(audio=str(SPEECH), fps=FPS, seed=0)
    mouths, found = mouths_of(clip.frames, (face and face.landmarks for face in pipe.tracker.follow(clip.frames)))
    assert found.all()
    return mouths, heard_visemes(load_sound(SPEECH).mono())


def test_lips_that_speak_are_read_better_than_those_that_speak_backwards(spoken):
    mouths, heard = spoken
    reader = embedded_lip_reader()
    said = viseme_track(heard, len(mouths), reader.config.frame_rate)
    forwards, backwards = (viseme_error_rate(reader.read(each, FPS), said) for each in (mouths, mouths[::-1].copy()))
    assert forwards < 0.75
    assert forwards < backwards - 0.1


def test_shut_lips_say_nothing_or_what_is_said_with_shut_lips(spoken):
    mouths, _ = spoken
    still = np.repeat(mouths[:1], 50, axis=0)  # before the sentence begins
    assert {VISEMES[index] for index in embedded_lip_reader().read(still, FPS)} <= {"rest", "closed"}


def test_the_metric_reads_a_video(spoken, tmp_path):
    evaluate = pytest.importorskip("evaluate")
    from superface_hf.metrics import metric_folder

    metric = evaluate.load(metric_folder("viseme_error_rate"), cache_dir=str(tmp_path))
    grey = np.full((12, 96, 96, 3), 128, np.uint8)  # no face: nothing can be read
    sound = load_sound(SPEECH).mono()[: 16000 * 2]
    result = metric.compute(predictions=[list(grey)], references=[sound], fps=FPS)
    assert result["viseme_error_rate"] > 0.5
