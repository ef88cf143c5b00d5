"""The trainers of the motion diffusion: they learn, go on where they stopped, and the gate never makes lips worse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from superface_hf.drivers.idle import IdleMotion
from superface_hf.metrics.movement import (
    head_beat_correlation,
    head_diversity,
    head_spread,
    motion_frechet_distance,
)
from superface_hf.models.speech_to_motion.denoiser import MotionDenoiser
from superface_hf.models.speech_to_motion.motion_statistics import STYLE_PARTS, MotionStatistics, style_code
from superface_hf.models.speech_to_motion.motion_vector import from_vectors, region_slices, to_vectors
from superface_hf.models.speech_to_motion.noise import motion_scheduler
from superface_hf.motion import Motion
from superface_hf.training.speech_to_motion import clips as motion_clips
from superface_hf.training.speech_to_motion.clips import MotionClip
from superface_hf.training.speech_to_motion.emotions import shown, without_opening
from superface_hf.training.speech_to_motion.lip_refiner import (
    LipRefinerTrainingConfig,
    LipWindows,
    choose_gate,
    lip_windows,
    refined,
    train_refiner,
)
from superface_hf.training.speech_to_motion.release import complete_statistics, measured_gain
from superface_hf.training.speech_to_motion.trainer import (
    SpeechToMotionTrainer,
    SpeechToMotionTrainingConfig,
)
from superface_hf.training.speech_to_motion.windows import MotionWindows, fit_statistics

NETWORK = {"hidden_size": 24, "num_layers": 1, "num_heads": 2, "frames": 20, "known_frames": 4}


def clip(number: int, frames: int = 60, held_out: bool = False) -> MotionClip:
    """An idle face that speaks noise."""
    rng = np.random.default_rng(number)
    motion = IdleMotion(seed=number).motion(frames, 25)
    rows = to_vectors(motion, Motion.neutral(1, 25))
    rows[:, :30] = rng.normal(size=(frames, 30)) * 0.3
    heard = np.concatenate([rng.normal(size=(frames, 256)), rows[:, :30]], axis=1).astype(np.float32)
    return MotionClip(f"p{number}", f"c{number}", held_out, held_out, rows, heard, np.zeros(frames), rows)


@pytest.fixture(scope="module")
def clips() -> list[MotionClip]:
    return [*(clip(number) for number in range(3)), clip(3, 14), clip(4, held_out=True)]


def settings(out, **more) -> SpeechToMotionTrainingConfig:
    return SpeechToMotionTrainingConfig(
        out=str(out), steps=4, batch_size=2, validate_every=2, mixed_precision="no", warmup=1, **more
    )


def weights(trainer: SpeechToMotionTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.averaged.state_dict().items()}


class TestDiffusion:
    def test_two_steps_move_the_weights_and_a_resumed_training_ends_the_same(self, clips, tmp_path):
        whole = SpeechToMotionTrainer(settings(tmp_path / "whole"), clips, NETWORK)
        before = weights(whole)
        whole.train()
        after = weights(whole)
        assert any((before[name] != after[name]).any() for name in before)
        first = SpeechToMotionTrainer(settings(tmp_path / "parts"), clips, NETWORK)
        first.train(until=2)
        second = SpeechToMotionTrainer(settings(tmp_path / "parts"), clips, NETWORK)
        second.train()
        assert all(torch.equal(after[name], value) for name, value in weights(second).items())
        lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
        assert np.isfinite([line["validation"]["loss"] for line in lines if "validation" in line]).all()
        assert (tmp_path / "whole" / "final" / "denoiser" / "config.json").exists()

    def test_windows_of_short_clips_are_not_counted_beyond_their_end(self, clips):
        windows = MotionWindows([clips[3]], fit_statistics(clips[:3]), 0, frames=20, known_frames=4)
        for item in (windows[index] for index in range(8)):
            assert not item.known_given
            assert item.valid.sum() == 14
            assert not item.motion[item.valid == 0].any()

    def test_a_window_is_the_same_however_often_it_is_asked_for(self, clips):
        windows = MotionWindows(clips[:3], fit_statistics(clips[:3]), 0, frames=20, known_frames=4)
        assert all(torch.equal(value, getattr(windows[5], name)) for name, value in vars(windows[5]).items())

    def test_statistics_make_motion_about_as_large_everywhere(self, clips):
        statistics = fit_statistics(clips[:3])
        scaled = statistics.scale(torch.from_numpy(np.concatenate([each.vectors for each in clips[:3]])))
        moving = statistics.spread > 1e-4
        assert 0.7 < float(scaled[:, moving].std()) < 1.3


class TestRefiner:
    def test_it_learns_what_the_diffused_mouth_knows(self, tmp_path):
        statistics = MotionStatistics()
        torch.manual_seed(0)
        truth = torch.randn(6, 20, 30)
        part = region_slices()["mouth"]
        scaled = (truth - statistics.mean[part]) / statistics.spread[part]
        condition = torch.cat([torch.randn(6, 20, 256), torch.zeros(6, 20, 30)], dim=-1)
        windows = LipWindows(condition, scaled, truth, torch.ones(6, 20))
        config = LipRefinerTrainingConfig(out=str(tmp_path), steps=80, batch_size=6, blind=0.0, learning_rate=5e-3)
        _, refiner = train_refiner(config, windows, statistics)
        errors = [float((refined(refiner, statistics, windows, gate) - truth).square().mean()) for gate in (0.0, 1.0)]
        assert errors[1] < 0.8 * errors[0]

    def test_a_clip_is_cut_into_whole_windows(self, clips, tmp_path):
        trainer = SpeechToMotionTrainer(settings(tmp_path), clips, NETWORK)
        windows = lip_windows(clips[0], trainer.averaged, trainer.statistics, motion_scheduler(), 0)
        assert windows.truth.shape == windows.diffused.shape == (3, 20, 30)
        assert windows.valid.sum() == 60
        assert torch.equal(windows.truth.flatten(0, 1), torch.from_numpy(clips[0].vectors[:, :30]))

    def test_the_gate_is_zero_where_refined_lips_are_worse(self):
        assert choose_gate({0.0: 0.5, 1.0: 0.6}, {0.0: 0.5, 1.0: 0.49}) == 0.0
        assert choose_gate({0.0: 0.5, 0.5: 0.55, 1.0: 0.6}, {0.0: 0.5, 0.5: 0.51, 1.0: 0.49}) == 0.5
        assert choose_gate({0.0: 0.5, 1.0: 0.6}, {0.0: 0.5, 1.0: 0.51}) == 1.0


class TestStylesAndEmotions:
    def test_a_calm_style_spreads_less_than_a_lively_one(self, clips):
        statistics = complete_statistics(fit_statistics(clips[:3]), {"happiness": _smile()})
        calm, lively = (statistics.style(name) for name in ("calm", "lively"))
        assert (lively >= calm).all()
        assert (lively > calm).sum() == len(STYLE_PARTS) - 1

    def test_a_style_knows_how_far_things_move(self, clips):
        rows = clips[0].vectors + np.random.default_rng(0).normal(0, 0.1, clips[0].vectors.shape).astype(np.float32)
        assert (style_code(2 * rows) > style_code(rows)).all()

    def test_the_gain_makes_up_for_what_the_network_leaves_out(self, clips):
        """At most twofold: a network that hardly moves anybody cannot be made to move them as people do."""
        torch.manual_seed(0)
        statistics = fit_statistics(clips[:3])
        denoiser = MotionDenoiser(hidden_size=24, num_layers=1, num_heads=2).eval()
        torch.nn.init.normal_(denoiser.out.weight, std=0.02)
        gain = measured_gain(denoiser, statistics, motion_scheduler(), clips[:3])
        parts = region_slices()
        assert (gain[parts["head"]] > 1.5).all()
        assert gain.max() <= 2
        assert (gain[parts["mouth"]] == 1).all()

    def test_emotions_whose_faces_do_not_show_them_are_left_out(self):
        offsets = {"happiness": _smile(), "sadness": _smile(), "hunger": _smile()}
        assert set(shown(offsets)) == {"happiness"}

    def test_emotions_do_not_part_the_lips(self):
        from superface_hf.face_model.lips import mouth_opening

        jaw = Motion.neutral(1, 1).edit({"jawOpen": 0.5, "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}).mouth[0]
        rest = mouth_opening(np.zeros((1, 30)))[0]
        assert abs(mouth_opening(without_opening(jaw)[None])[0] - rest) < 0.15 * abs(mouth_opening(jaw[None])[0] - rest)


def _smile() -> np.ndarray:
    smile = Motion.neutral(1, 1).edit({"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4})
    return to_vectors(smile, Motion.neutral(1, 1))[0]


class TestMetrics:
    def test_motion_is_near_to_itself_and_a_still_face_is_far(self):
        moving = [IdleMotion(seed=seed).motion(250, 25) for seed in range(6)]
        others = [IdleMotion(seed=seed).motion(250, 25) for seed in range(6, 12)]
        still = [Motion.neutral(250, 25)] * 6
        assert motion_frechet_distance(moving, moving) == pytest.approx(0, abs=1e-3)
        assert motion_frechet_distance(moving, others) < motion_frechet_distance(still, others)

    def test_a_head_that_moves_where_it_is_loud_beats(self):
        loudness = np.where(np.arange(250) % 50 < 25, -20.0, -50.0)
        speed = np.where(loudness > -30, 0.01, 0.0)
        rows = np.zeros((250, 66), np.float32)
        rows[:, 60] = np.cumsum(speed * np.where(np.arange(250) % 10 < 5, 1, -1))
        motion = from_vectors(rows, 25)
        assert head_beat_correlation(motion, loudness) > 0.8
        assert head_beat_correlation(motion, -loudness) < -0.5
        assert head_beat_correlation(Motion.neutral(250, 25), loudness) == 0

    def test_spread_and_diversity_are_in_degrees(self):
        rows = np.zeros((100, 66), np.float32)
        rows[::2, 61] = np.radians(4)
        assert head_spread([from_vectors(rows, 25)]) == pytest.approx([0, 2, 0], abs=0.01)
        assert head_diversity([from_vectors(rows, 25), Motion.neutral(100, 25)]) == pytest.approx(2, abs=0.01)


def test_clips_come_back_from_the_cache_as_they_were(clips, tmp_path) -> None:
    motion_clips._store([clips[0], clips[4]], tmp_path / "clip.npz")
    for one, other in zip(motion_clips._restore(tmp_path / "clip.npz"), (clips[0], clips[4]), strict=True):
        for name, value in vars(other).items():
            assert np.array_equal(getattr(one, name), value)
            assert type(getattr(one, name)) is type(value)
    motion_clips._store([], tmp_path / "none.npz")
    assert motion_clips._restore(tmp_path / "none.npz") == []
