"""The embedded lip reader reads the bundled sentence from the lips of the bundled student."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from superface_hf.hub import weights_folder
from superface_hf.media import load_sound
from superface_hf.metrics.visemes import viseme_error_rate
from superface_hf.models.embedded import embedded_lip_reader
from superface_hf.models.lip_reader import mouths_of
from superface_hf.models.lip_reader.heard_visemes import heard_visemes, viseme_track
from superface_hf.utils.assets import SPEECH

pytestmark = pytest.mark.e2e
FPS = 25.0


@pytest.fixture(scope="module")
def spoken(pipe):
    """The student's frames, what its lips show (T, 48, 72), and what is heard."""
    from transformers import pipeline

    student = pipeline("talking-face", model=str(weights_folder("student")), device="cpu")
    clip = student(audio=str(SPEECH), fps=FPS, seed=0)
    mouths, found = mouths_of(clip.frames, (face and face.landmarks for face in pipe.tracker.follow(clip.frames)))
    assert found.all()
    return clip.frames, mouths, heard_visemes(load_sound(SPEECH).mono())


def test_lips_show_what_is_said_and_not_what_is_said_backwards(spoken):
    _, mouths, heard = spoken
    reader = embedded_lip_reader()
    said = viseme_track(heard, len(mouths), reader.config.frame_rate)
    assert viseme_error_rate(reader.read(mouths, FPS), said) < 0.75
    forwards, backwards = (reader.evidence(each, FPS, said) for each in (mouths, mouths[::-1].copy()))
    assert abs(int(forwards.argmax()) - 5) <= 1  # in step
    assert forwards.max() > backwards.max() + 0.1
    assert forwards.max() > np.median(forwards) + 0.15


def test_the_metric_reads_a_video(spoken, tmp_path):
    evaluate = pytest.importorskip("evaluate")
    from superface_hf.metrics import metric_folder

    metric = evaluate.load(metric_folder("viseme_error_rate"), cache_dir=str(tmp_path))
    frames, mouths, _ = spoken
    small = [
        cv2.resize(frame, (160, 160), interpolation=cv2.INTER_AREA) for frame in frames[:50]
    ]  # large ones take minutes
    sound = load_sound(SPEECH).mono()[: 16000 * 2]
    result = metric.compute(predictions=[small], references=[sound], fps=FPS)
    reader = embedded_lip_reader()
    said = viseme_track(heard_visemes(sound), 50, reader.config.frame_rate)
    assert result["evidence"] == pytest.approx(reader.evidence(mouths[:50], FPS, said).max(), abs=0.3)
    assert result["viseme_error_rate"] == pytest.approx(viseme_error_rate(reader.read(mouths[:50], FPS), said), abs=0.3)
    assert result["viseme_error_rates"] == [result["viseme_error_rate"]]
    assert len(result["offsets"]) == 1
