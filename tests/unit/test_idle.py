"""The idle driver moves like a person: these are its promises."""

from __future__ import annotations

import numpy as np
import pytest

from superface_hf import Motion, MotionError
from superface_hf.drivers.idle import IdleMotion
from superface_hf.motion.regions import HEAD

FPS = 25.0
ARRAYS = (*HEAD, "mouth", "eyes", "brows", "gaze")


def closures(motion: Motion) -> np.ndarray:
    """(T, 2): how far the left and the right eye are shut, 1 for an ``eyeBlink`` of 1."""
    lids = Motion.neutral(1, 1).edit({"eyeBlinkLeft": 1, "eyeBlinkRight": 1}).eyes.reshape(2, -1)
    return (motion.eyes.reshape(len(motion), 2, -1) * lids).sum(-1) / (lids**2).sum(-1)


def runs(active: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active, [0]])))
    return list(edges[1::2] - edges[::2])


@pytest.fixture(scope="module")
def ten_minutes() -> Motion:
    return IdleMotion(seed=1).motion(round(600 * FPS), FPS)


def accented_speech(seconds: float = 20.0) -> np.ndarray:
    """Loudness with an accent each second."""
    time = np.arange(round(seconds * FPS)) / FPS
    return -30 + 18 * (time % 1.0 < 0.3)


class TestReproducible:
    def test_a_seed_always_gives_the_same_motion_and_another_one_another(self):
        first, again, other = (IdleMotion(seed=seed).motion(200, FPS) for seed in (3, 3, 4))
        for name in ARRAYS:
            assert np.array_equal(getattr(first, name), getattr(again, name))
        assert np.abs(first.rotation - other.rotation).max() > 0.01

    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_in_pieces_it_is_the_same(self, size):
        loudness = accented_speech()
        whole = IdleMotion(seed=2).motion(len(loudness), FPS, loudness)
        stream = IdleMotion(seed=2).stream(FPS)
        pieces = [stream.push(loudness[start : start + size]) for start in range(0, len(loudness), size)]
        joined = Motion.concatenate(pieces)
        for name in ARRAYS:
            assert np.abs(getattr(joined, name) - getattr(whole, name)).max() < 1e-6

    def test_the_frame_rate_changes_nothing_but_how_often_one_looks(self):
        slow, fast = (IdleMotion(seed=5).motion(round(8 * fps), fps) for fps in (25, 50))
        assert np.abs(fast.rotation[::2] - slow.rotation).max() < 1e-5
        assert np.abs(fast.eyes[::2] - slow.eyes).max() < 1e-5

    def test_it_starts_at_rest(self):
        first = IdleMotion(seed=0).motion(1, FPS)
        for name in ARRAYS:
            assert np.array_equal(getattr(first, name), getattr(Motion.neutral(1, FPS), name))


class TestHead:
    def test_it_sways_by_a_few_degrees_and_never_stops(self, ten_minutes):
        degrees = np.degrees(ten_minutes.rotation)
        assert (degrees.std(0) > 0.5).all()
        assert np.abs(degrees).max() < 8
        for start in range(0, len(degrees), round(10 * FPS)):
            assert degrees[start : start + round(10 * FPS)].std() > 0.1

    def test_it_is_smooth(self, ten_minutes):
        """Never faster than 20 degrees a second, and no jumps of speed."""
        speed = np.degrees(np.diff(ten_minutes.rotation, axis=0)) * FPS
        assert np.abs(speed).max() < 20
        assert np.abs(np.diff(speed, axis=0)).max() < 4

    def test_it_nods_after_the_accents_of_speech(self):
        loudness = accented_speech()
        quiet = IdleMotion(seed=1).motion(len(loudness), FPS)
        nods = np.degrees(quiet.rotation - IdleMotion(seed=1).motion(len(loudness), FPS, loudness).rotation)[:, 0]
        assert 0.4 < nods[100:].max() < 4
        assert nods.min() > -1e-4
        lags = [np.corrcoef(loudness[100:-20], nods[100 + lag : len(nods) - 20 + lag])[0, 1] for lag in range(12)]
        assert 1 <= int(np.argmax(lags)) <= 7  # frames of 40 ms

    def test_brows_rise_with_accents_and_rest_in_silence(self):
        loudness = accented_speech()
        assert np.abs(IdleMotion().motion(len(loudness), FPS, loudness).brows).max() > 0.05
        assert not IdleMotion().motion(len(loudness), FPS).brows.any()

    def test_speech_of_any_level_is_accompanied_alike(self):
        loudness = accented_speech()
        nods = [IdleMotion().motion(len(loudness), FPS, loudness + gain).rotation[:, 0] for gain in (0, 12)]
        assert np.degrees(np.abs(nods[0] - nods[1])).max() < 0.5


class TestEyes:
    def test_they_blink_15_to_20_times_a_minute_in_uneven_intervals(self):
        counts, intervals = [], []
        for seed in range(5):
            shut = closures(IdleMotion(seed=seed).motion(round(300 * FPS), FPS)).min(1) > 0.5
            starts = np.flatnonzero(np.diff(shut.astype(int)) == 1) / FPS
            counts.append(len(starts) / 5)
            intervals += list(np.diff(starts))
        assert 15 <= np.mean(counts) <= 20
        assert 0.3 < np.std(intervals) / np.mean(intervals) < 1.0
        assert min(intervals) > 0.5

    def test_each_blink_shuts_both_eyes_and_lasts_150_to_300_ms(self):
        shut = closures(IdleMotion(seed=1).motion(120 * 200, 200))
        assert np.abs(shut[:, 0] - shut[:, 1]).max() < 1e-4
        lengths = np.array(runs(shut[:, 0] > 0.02)) / 200
        assert len(lengths) > 20
        assert (lengths > 0.15).all()
        assert (lengths < 0.30).all()

    def test_every_blink_is_seen_shut_at_25_fps(self, ten_minutes):
        shut = closures(ten_minutes).min(1)
        blinks = np.flatnonzero(np.diff((shut > 0.02).astype(int)) == 1) + 1
        assert len(blinks) > 140
        assert min(shut[start : start + 8].max() for start in blinks[:-1]) > 0.99

    def test_lids_close_faster_than_they_open(self):
        shut = closures(IdleMotion(seed=1).motion(60 * 200, 200))[:, 0]
        assert np.diff(shut).max() > 1.3 * -np.diff(shut).min()

    def test_they_look_at_the_camera_most_of_the_time_and_come_back(self, ten_minutes):
        """Where the eyes point in the world: gaze and head together."""
        rotation = ten_minutes.rotation
        world = np.degrees(ten_minutes.gaze[:, :2] + np.stack([rotation[:, 1], -rotation[:, 0]], axis=1))
        away = np.linalg.norm(world, axis=1) > 1.8
        assert 0.05 < away.mean() < 0.4
        assert max(runs(away)) / FPS < 4
        assert np.linalg.norm(world, axis=1).max() < 9
        assert np.array_equal(ten_minutes.gaze[:, :2], ten_minutes.gaze[:, 2:])


class TestStrength:
    def test_zero_is_no_motion_at_all(self):
        motion = IdleMotion(strength=0).motion(500, FPS, np.tile(accented_speech(), 1)[:500])
        for name in ARRAYS:
            assert np.array_equal(getattr(motion, name), getattr(Motion.neutral(500, FPS), name))

    def test_it_scales_the_head_but_blinks_stay_whole(self):
        half, full, double = (IdleMotion(seed=1, strength=strength).motion(500, FPS) for strength in (0.5, 1, 2))
        assert half.rotation == pytest.approx(full.rotation / 2, abs=1e-6)
        assert double.rotation == pytest.approx(full.rotation * 2, abs=1e-6)
        assert np.array_equal(half.eyes, double.eyes)

    @pytest.mark.parametrize("options", [{"strength": -0.1}, {"strength": 2.1}, {"strength": np.nan}, {"seed": -1}])
    def test_what_is_out_of_range_is_refused(self, options):
        with pytest.raises(MotionError):
            IdleMotion(**options)
        with pytest.raises(MotionError, match="fps"):
            IdleMotion().stream(0)
