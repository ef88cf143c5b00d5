"""The metrics give the answers that are known, as functions and through ``evaluate``."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from superface_hf.drivers.bundled import bundled_motion
from superface_hf.errors import MediaError, MotionError, UnknownNameError
from superface_hf.face_model.lips import CLOSED, lip_points, mouth_opening
from superface_hf.metrics import METRICS, metric_folder
from superface_hf.metrics.closures import bilabial_closure, closed_in_silence, silences
from superface_hf.metrics.lips import lip_distance, lip_velocity_distance, opening_correlation, opening_spread
from superface_hf.motion import Motion

FPS = 25.0
RATE = 16000
SHUT = Motion.neutral(1, FPS).edit({"mouthPressLeft": 0.8, "mouthPressRight": 0.8}).mouth[0]
OPEN = Motion.neutral(1, FPS).edit({"jawOpen": 0.5}).mouth[0]


def mouths(opened: list[int]) -> np.ndarray:
    """(T, 30): an open mouth where there is a 1, a shut one where there is a 0."""
    return np.where(np.array(opened)[:, None] == 1, OPEN, SHUT)


@pytest.fixture(scope="module")
def speaking() -> np.ndarray:
    return bundled_motion("speak").mouth[:60]


def tone(*parts: tuple[float, float]) -> np.ndarray:
    """Sound made of (seconds, amplitude)."""
    return np.concatenate([a * np.sin(np.arange(round(s * RATE)) * 0.3) for s, a in parts]).astype(np.float32)


def test_the_stand_ins_are_a_shut_and_an_open_mouth():
    assert mouth_opening(SHUT) < CLOSED < mouth_opening(OPEN)


def test_equal_lips_have_no_distance(speaking):
    assert lip_distance(speaking, speaking) == 0
    assert lip_velocity_distance(speaking, speaking, FPS) == 0
    assert opening_correlation(speaking, speaking) == pytest.approx(1)
    assert opening_spread(speaking, speaking) == pytest.approx(1)


def test_the_lip_distance_is_the_mean_distance_of_the_points():
    expected = 100 * np.linalg.norm(lip_points(OPEN) - lip_points(SHUT), axis=-1).mean()
    assert lip_distance(mouths([1, 1]), mouths([0, 0])) == pytest.approx(expected)
    assert lip_distance(mouths([1, 0]), mouths([0, 0])) == pytest.approx(expected / 2)


def test_the_velocity_distance_counts_changes_a_second_and_no_constant_error():
    assert lip_velocity_distance(mouths([1, 1]), mouths([0, 0]), FPS) == pytest.approx(0, abs=1e-9)
    step = 100 * np.linalg.norm(lip_points(OPEN) - lip_points(SHUT), axis=-1).mean()
    assert lip_velocity_distance(mouths([0, 1]), mouths([0, 0]), FPS) == pytest.approx(step * FPS)


def test_the_correlation_sees_time_and_not_size(speaking):
    assert opening_correlation(mouths([0, 1, 0, 1]), mouths([1, 0, 1, 0])) == pytest.approx(-1)
    assert opening_correlation(mouths([1, 1, 1, 1]), mouths([1, 0, 1, 0])) == 0
    smaller = SHUT + 0.5 * (mouths([0, 1, 1, 0]) - SHUT)
    assert opening_correlation(smaller, mouths([0, 1, 1, 0])) == pytest.approx(1)
    assert opening_spread(smaller, mouths([0, 1, 1, 0])) < 0.7
    assert math.isnan(opening_spread(speaking[:4], mouths([1, 1, 1, 1])))


@pytest.mark.parametrize(
    ("predicted", "true", "says"),
    [
        (np.zeros((3, 30)), np.zeros((4, 30)), "3 frames, the other 4"),
        (np.zeros((3, 29)), np.zeros((3, 29)), "shape"),
        (np.zeros((0, 30)), np.zeros((0, 30)), "shape"),
        (np.full((3, 30), np.nan), np.zeros((3, 30)), "NaN"),
    ],
)
def test_mouths_that_cannot_be_compared_are_refused(predicted, true, says):
    for metric in (lip_distance, opening_correlation, opening_spread):
        with pytest.raises(MotionError, match=says):
            metric(predicted, true)


def test_bilabials_must_touch_and_others_show_what_that_is_worth():
    phonemes = [
        ("p", 0.0, 0.08),
        ("a", 0.12, 0.20),
        ("m", 0.24, 0.28),
        ("e", 0.32, 0.36),
        ("f", 0.40, 0.44),
        ("", 0.44, 0.5),
    ]
    spoken = mouths([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    assert bilabial_closure(spoken, FPS, phonemes) == (0.5, 0.0)
    assert bilabial_closure(mouths([0] * 13), FPS, phonemes) == (1.0, 1.0)
    rate, elsewhere = bilabial_closure(spoken, FPS, [("a", 0.16, 0.2)])
    assert math.isnan(rate)
    assert elsewhere == 0


def test_a_touch_shorter_than_a_frame_counts_by_its_nearest_frame():
    assert bilabial_closure(mouths([1, 1, 0, 1, 1]), FPS, [("b", 0.070, 0.075)])[0] == 1
    assert bilabial_closure(mouths([1, 1, 0, 1, 1]), FPS, [("b", 0.110, 0.115)])[0] == 0


def test_silences_are_where_it_is_quiet():
    sound = tone((0.5, 0.5), (0.4, 0.0), (0.5, 0.5), (0.2, 0.001), (0.3, 0.2))
    (first, second) = silences(sound, RATE)
    assert first == pytest.approx((0.5, 0.9), abs=0.011)
    assert second == pytest.approx((1.4, 1.6), abs=0.011)
    assert silences(np.zeros(RATE), RATE) == [(0.0, 1.0)]
    with pytest.raises(MediaError, match="not empty"):
        silences(np.zeros(0), RATE)


def test_only_long_silences_ask_for_a_closed_mouth():
    sound = tone((0.4, 0.5), (0.4, 0.0), (0.4, 0.5), (0.2, 0.0), (0.2, 0.5))
    opened = [1] * 10 + [1] * 2 + [0] * 8 + [1] * 20
    assert closed_in_silence(mouths(opened), FPS, sound, RATE) == pytest.approx(0.8)
    assert closed_in_silence(mouths(opened), FPS, sound, RATE, margin=0.09) == 1
    assert math.isnan(closed_in_silence(mouths(opened), FPS, sound, RATE, longer_than=0.5))


def test_an_unknown_metric_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match="lip_distance"):
        metric_folder("lip_distnace")


def test_every_module_loads_without_a_network_and_knows_what_it_takes(tmp_path):
    """In a process of its own: evaluate reads these settings when it is imported, and nothing may come from a cache."""
    pytest.importorskip("evaluate")
    code = f"""
        import os, socket
        os.environ.update(HF_HOME={str(tmp_path)!r}, HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
        def refuse(*args): raise OSError("a test asked for the network")
        socket.socket.connect = refuse
        import evaluate
        from superface_hf.metrics import METRICS, metric_folder
        for name in METRICS:
            metric = evaluate.load(metric_folder(name))
            assert "Args:" in metric.inputs_description and metric.citation and metric.description, name
        print("loaded", len(METRICS))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == f"loaded {len(METRICS)}", done.stderr


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    evaluate = pytest.importorskip("evaluate")

    def by_name(name: str):
        return evaluate.load(metric_folder(name), cache_dir=str(tmp_path_factory.mktemp("evaluate")))

    return by_name


def test_evaluate_gives_what_the_functions_give(load, speaking):
    other = speaking[::-1].copy()
    result = load("lip_distance").compute(predictions=[other, speaking], references=[speaking, speaking], fps=FPS)
    assert result["lmd"] == pytest.approx(lip_distance(other, speaking) / 2, rel=1e-4)
    assert result["lvd"] == pytest.approx(lip_velocity_distance(other, speaking, FPS) / 2, rel=1e-4)
    result = load("mouth_opening_correlation").compute(predictions=[other], references=[speaking])
    assert result["correlation"] == pytest.approx(opening_correlation(other, speaking), rel=1e-4)
    assert result["spread"] == pytest.approx(1, rel=1e-4)


def test_clips_can_be_added_one_by_one(load):
    metric = load("silent_mouth")
    sound = tone((0.4, 0.5), (0.4, 0.0), (0.2, 0.5))
    for quiet in (0, 1):
        metric.add(prediction=mouths([1] * 10 + [quiet] * 10 + [1] * 5), reference=sound)
    assert metric.compute(fps=FPS)["closed_share"] == pytest.approx(0.5)


def test_the_closure_module_takes_symbols_and_times(load):
    result = load("bilabial_closure").compute(
        predictions=[mouths([0, 0, 1, 1]), mouths([1, 1, 1, 1])],
        symbols=[["p", "a"], ["m"]],
        times=[[[0.0, 0.04], [0.1, 0.12]], [[0.0, 0.08]]],
        fps=FPS,
    )
    assert result == {"closure_rate": 0.5, "closed_elsewhere": 0.0}
