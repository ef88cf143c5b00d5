"""The sync expert: its embeddings, its arithmetic, what it refuses, and that it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from superface_hf import SuperFaceSyncExpertConfig, SuperFaceSyncExpertModel
from superface_hf.errors import MediaError, MotionError
from superface_hf.models.sync_expert.modeling_sync_expert import at_rate, shifted_distances
from superface_hf.motion import Motion

RATE = 16000


def voiced(loudness_of: np.ndarray) -> np.ndarray:
    """A buzz of 120 Hz with the loudness of another sound: something like a vowel."""
    loudness = np.sqrt(np.convolve(loudness_of**2, np.ones(800) / 800, mode="same"))
    buzz = np.zeros(len(loudness_of))
    buzz[:: RATE // 120] = 1.0
    vowel = np.convolve(buzz, np.exp(-np.arange(80) / 12) * np.cos(np.arange(80) * 2 * np.pi * 700 / RATE), mode="same")
    return (loudness * vowel).astype(np.float32)


def tiny() -> SuperFaceSyncExpertConfig:
    return SuperFaceSyncExpertConfig(num_mel_bins=16, hidden_size=24, dilations=[1, 2], embedding_size=12, dropout=0.0)


@pytest.fixture
def expert() -> SuperFaceSyncExpertModel:
    torch.manual_seed(0)
    return SuperFaceSyncExpertModel(tiny()).eval()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=round(seconds * RATE))).astype(np.float32)


def babble(seconds: float, fps: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sound that is loud when the mouth is open: samples (N,) and mouth (T, 30)."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(size=round(seconds * 6) + 2)
    opening = np.interp(np.arange(round(seconds * fps)) / fps * 6, np.arange(len(knots)), knots)
    loudness = np.interp(np.arange(round(seconds * RATE)) / RATE * 6, np.arange(len(knots)), knots)
    mouth = np.zeros((len(opening), 30), np.float32)
    mouth[:, 0] = 3 * opening
    return (noise(seconds, seed) * loudness**2).astype(np.float32), mouth


def test_embeddings_lie_on_a_sphere_one_for_each_frame(expert):
    output = expert(torch.randn(2, 101, 16), torch.randn(2, 40, 30))
    assert output.audio.shape == (2, 51, 12)
    assert output.mouth.shape == (2, 40, 12)
    torch.testing.assert_close(output.audio.norm(dim=-1), torch.ones(2, 51))
    assert expert(mouth=torch.randn(1, 5, 30)).audio is None


def test_an_embedding_depends_on_its_window_alone(expert):
    """The window's length is what the configuration says."""
    mouth = torch.randn(1, 60, 30)
    changed = mouth.clone()
    changed[0, 30] += 1
    moved = (expert(mouth=mouth).mouth - expert(mouth=changed).mouth).abs().sum(-1)[0] > 1e-6
    reach = round((expert.config.window_seconds * expert.config.frame_rate - 1) / 2)
    assert moved.nonzero().flatten().tolist() == list(range(30 - reach, 30 + reach + 1))


def test_a_picture_that_is_late_has_a_positive_offset():
    audio = torch.nn.functional.normalize(torch.randn(80, 8), dim=-1)
    late = audio.roll(3, dims=0)  # the mouth shows at frame k what was heard at k - 3
    distances = shifted_distances(audio, late, reach=10)
    assert distances.shape == (21,)
    assert int(distances.argmin()) - 10 == 3
    assert distances.min() == pytest.approx(0, abs=1e-6)


def test_long_sounds_are_embedded_piece_by_piece_with_the_same_result(expert, monkeypatch):
    samples, mouth = babble(6.0, 25.0, seed=0)
    whole = expert.offset(samples, mouth, 25.0)
    monkeypatch.setattr("superface_hf.models.sync_expert.modeling_sync_expert.BLOCK_SECONDS", 1.0)
    np.testing.assert_allclose(expert.offset(samples, mouth, 25.0).distances, whole.distances, atol=1e-5)


def test_mouths_of_any_rate_are_brought_to_the_experts():
    mouth = np.arange(10, dtype=np.float32)[:, None]
    np.testing.assert_allclose(at_rate(mouth, 25.0, 50.0)[:5, 0], [0, 0.5, 1, 1.5, 2])
    assert len(at_rate(mouth, 30.0, 50.0)) == 17


@pytest.mark.parametrize(
    ("samples", "mouth", "fps", "error", "says"),
    [
        (noise(3), np.zeros((75, 29)), 25.0, MotionError, "shape"),
        (noise(3), np.full((75, 30), np.nan), 25.0, MotionError, "finite"),
        (noise(3), np.zeros((75, 30)), 0.0, MotionError, "fps"),
        (noise(0.5), np.zeros((75, 30)), 25.0, MotionError, "share 0.50 s"),
        (noise(3), np.zeros((12, 30)), 25.0, MotionError, "longer clip"),
        (noise(0), np.zeros((75, 30)), 25.0, MediaError, "empty"),
        (np.full(RATE * 3, np.nan), np.zeros((75, 30)), 25.0, MediaError, "NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(expert, samples, mouth, fps, error, says):
    with pytest.raises(error, match=says):
        expert.offset(samples, mouth, fps)


def test_combinations_that_cannot_work_are_refused():
    for wrong in ({"frame_rate": 30.0}, {"dilations": []}, {"embedding_size": 1}, {"dropout": 1.0}):
        with pytest.raises((StrictDataclassClassValidationError, ValueError)):
            SuperFaceSyncExpertConfig(**wrong)


def test_a_saved_expert_judges_the_same(expert, tmp_path):
    from transformers import AutoModel

    expert.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, SuperFaceSyncExpertModel)
    samples, mouth = babble(3.0, 25.0, seed=1)
    np.testing.assert_array_equal(
        loaded.offset(samples, mouth, 25.0).distances, expert.offset(samples, mouth, 25.0).distances
    )


@pytest.fixture
def babbling():
    from superface_hf.data.speech.clips import SpeechClip

    clips = []
    for seed in range(6):
        samples, mouth = babble(4.0, 25.0, seed)
        clips.append(SpeechClip(f"clip_{seed}", f"person_{seed}", 25.0, samples, mouth, np.ones(len(mouth), bool)))
    return clips


def trainer(clips, out, steps=4, **settings):
    pytest.importorskip("accelerate")
    from superface_hf.data.speech.sync_windows import SyncSampling
    from superface_hf.training.sync_expert.trainer import SyncExpertTrainer, SyncExpertTrainingConfig

    config = SyncExpertTrainingConfig(
        data="",
        out=str(out),
        steps=steps,
        batch_size=6,
        warmup=2,
        calibrate_at=0,
        reach=12,
        mixed_precision="no",
        **settings,
    )
    return SyncExpertTrainer(config, clips, model_config=tiny(), sampling=SyncSampling(frames=60))


def test_it_learns_which_moment_a_mouth_belongs_to(babbling, tmp_path):
    """A hundred steps on babble are enough to find, on babble it has not heard, a mouth that is four frames late."""
    teacher = trainer(babbling, tmp_path, steps=120, learning_rate=4e-3, ema=0.9)
    teacher.train()
    expert = SuperFaceSyncExpertModel.from_pretrained(tmp_path / "final").eval()
    samples, mouth = babble(8.0, 25.0, seed=100)
    in_step = expert.offset(samples, mouth, 25.0)
    assert abs(in_step.offset) <= 1
    assert abs(expert.offset(samples, np.roll(mouth, 4, axis=0), 25.0).offset - 4) <= 1
    other = expert.offset(babble(8.0, 25.0, seed=101)[0], mouth, 25.0)
    assert in_step.confidence > 2 * other.confidence
    assert in_step.distance < other.distance


def test_a_resumed_training_ends_with_the_same_weights(babbling, tmp_path):
    whole = trainer(babbling, tmp_path / "whole")
    whole.train()
    trainer(babbling, tmp_path / "parts").train(until=2)
    resumed = trainer(babbling, tmp_path / "parts")
    resumed.train()
    for a, b in zip(whole.averaged.parameters(), resumed.averaged.parameters(), strict=True):
        assert torch.equal(a, b)


def test_recordings_out_of_step_are_corrected_and_hopeless_ones_left_out(babbling, tmp_path, monkeypatch):
    from superface_hf.training.sync_expert import trainer as sync_expert

    measured = {clip.name: 0.1 for clip in babbling} | {"clip_0": None}
    monkeypatch.setattr(sync_expert, "measured_offsets", lambda model, clips, config: measured)
    training = trainer(babbling, tmp_path)
    training.config.calibrate_at = 2
    training.train()
    assert training.offsets["clip_0"] is None
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["offsets"]["clip_1"] == 0.1


def test_changed_sound_is_still_the_same_speech_in_range():
    pytest.importorskip("accelerate")
    from superface_hf.data.speech.sync_windows import changed_sound
    from superface_hf.models.audio_to_lip.feature_extraction_audio_to_lip import SuperFaceAudioToLipFeatureExtractor

    features = SuperFaceAudioToLipFeatureExtractor()(babble(2.0, 25.0, 3)[0])["input_features"][0]
    for seed in range(8):
        changed = changed_sound(features, np.random.default_rng(seed))
        assert changed.shape == features.shape
        assert np.isfinite(changed).all()
        assert not np.allclose(changed, features)
        assert np.corrcoef(changed.mean(1), features.mean(1))[0, 1] > 0.5


def test_the_embedded_expert_tells_speech_in_step_from_speech_that_is_not():
    """The bundled clip of a speaking mouth has no sound, so the made-up one serves: loud while the mouth is open."""
    from superface_hf.models.embedded import embedded_sync_expert

    expert = embedded_sync_expert()
    assert expert.dtype == torch.float32
    assert sum(p.numel() for p in expert.parameters()) < 2_000_000
    jaw = Motion.neutral(1, 25.0).edit({"jawOpen": 0.5}).mouth[0]
    samples, mouth = babble(8.0, 25.0, seed=5)
    spoken = voiced(samples)
    moving = mouth[:, :1] / 3 * jaw
    result = expert.offset(spoken, moving, 25.0)
    assert abs(result.offset) <= 2
    assert abs(expert.offset(spoken, np.roll(moving, 5, axis=0), 25.0).offset - 5) <= 2
    assert result.confidence > 1.5 * expert.offset(voiced(babble(8.0, 25.0, seed=6)[0]), moving, 25.0).confidence
