"""The trainer of audio-to-lip trains, goes on exactly where it stopped, and asks for the right things."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")

from superface_hf import SuperFaceAudioToLipConfig, SuperFaceAudioToLipModel, SuperFaceError
from superface_hf.data.prepared_set import Origin, PreparedClip, load_clips, write_clips
from superface_hf.data.speech.augment import SAMPLING_RATE, SoundAugment, mu_law
from superface_hf.data.speech.clips import (
    SpeechClip,
    _store,
    at_common_range,
    fitted_path,
    load_speech_clips,
    person_weights,
    save_offsets,
    speech_clip,
)
from superface_hf.data.speech.feature_augment import FeatureAugment
from superface_hf.data.speech.synthetic_speech import FRAME_RATE, Utterance
from superface_hf.data.speech.takes import arkit_scores
from superface_hf.data.speech.visemes import Phoneme, closed_mouth, mouth_of, mouth_track, pose_scores
from superface_hf.data.speech.windows import SpeechSampling, SpeechWindows
from superface_hf.face_model.lips import CLOSED, mouth_opening
from superface_hf.motion.arkit import arkit_index
from superface_hf.training.audio_to_lip.loss import LipLossWeights, lip_loss
from superface_hf.training.audio_to_lip.soup import soup
from superface_hf.training.audio_to_lip.trainer import AudioToLipTrainer, AudioToLipTrainingConfig, align, split_people
from superface_hf.training.audio_to_lip.validation import measure_lips


def beeps(seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Phoneme]]:
    """Something like speech: a tone for each vowel, silence for each p."""
    samples, phonemes, time = [], [], 0.0
    while time < seconds:
        symbol = ("a", "p", "i", "")[len(phonemes) % 4]
        length = round(rng.uniform(0.1, 0.3) * SAMPLING_RATE)
        tone = np.sin(2 * np.pi * {"a": 300, "i": 900}.get(symbol, 0) * np.arange(length) / SAMPLING_RATE)
        samples.append(0.3 * tone)
        phonemes.append(Phoneme(symbol, time, time + length / SAMPLING_RATE))
        time += length / SAMPLING_RATE
    return np.concatenate(samples).astype(np.float32), phonemes


@pytest.fixture(scope="module")
def spoken() -> list[Utterance]:
    said = []
    for seed in range(2):
        samples, phonemes = beeps(3.0, np.random.default_rng(seed))
        mouth = mouth_track(phonemes, int(len(samples) / SAMPLING_RATE * FRAME_RATE), FRAME_RATE)
        said.append(Utterance(samples, phonemes, mouth, "test", ""))
    return said


@pytest.fixture(scope="module")
def clips(spoken) -> list[SpeechClip]:
    """The same as labelled clips at 25 fps of two people, one of whom smiles all the time."""
    smile = mouth_of(pose_scores("i")[None] * 0.3)[0] - closed_mouth()
    found = []
    for n, said in enumerate(spoken):
        mouth = said.mouth[::2] + n * smile
        found.append(SpeechClip(f"clip_{n}", f"person_{n}", 25.0, said.samples, mouth, np.ones(len(mouth), bool)))
    return found


def tiny() -> SuperFaceAudioToLipConfig:
    return SuperFaceAudioToLipConfig(hidden_size=16, dilations=[1, 2], num_mel_bins=16)


def config(out: Path, steps: int) -> AudioToLipTrainingConfig:
    return AudioToLipTrainingConfig(
        out=str(out), steps=steps, batch_size=2, seconds=1.0, warmup=1, validate_every=0, mixed_precision="no", real=0.5
    )


def test_training_moves_the_weights_and_writes_a_loadable_checkpoint(spoken, clips, tmp_path):
    trainer = AudioToLipTrainer(config(tmp_path, 2), spoken, clips, model_config=tiny())
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert all(not torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before, strict=True))
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["step"] == 2
    model = SuperFaceAudioToLipModel.from_pretrained(tmp_path / "checkpoint" / "averaged")
    assert model.predict(spoken[0].samples, 25.0).shape[1] == 30


def test_a_resumed_training_ends_with_the_same_weights(spoken, clips, tmp_path):
    whole = AudioToLipTrainer(config(tmp_path / "whole", 4), spoken, clips, model_config=tiny())
    whole.train()
    AudioToLipTrainer(config(tmp_path / "parts", 4), spoken, clips, model_config=tiny()).train(until=2)
    resumed = AudioToLipTrainer(config(tmp_path / "parts", 4), spoken, clips, model_config=tiny())
    resumed.train()
    for a, b in ((whole.model, resumed.model), (whole.averaged, resumed.averaged)):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_training_learns_to_open_on_tones_and_close_in_silence(spoken, tmp_path):
    settings = replace(config(tmp_path, 40), batch_size=4, learning_rate=5e-3, ema=0.8, quiet=0.0)
    trainer = AudioToLipTrainer(settings, spoken, [], model_config=tiny())
    untrained = measure_lips(trainer.averaged, [], spoken)
    trainer.train()
    trained = measure_lips(trainer.averaged, [], spoken)
    assert trained["synthetic_correlation"] > max(untrained["synthetic_correlation"], 0.4)


def test_windows_are_reproducible_and_say_what_counts(spoken, clips):
    extractor = SuperFaceAudioToLipModel(tiny()).feature_extractor
    sampling = SpeechSampling(seconds=1.0, real=0.5, quiet=0.2)
    first, again = (SpeechWindows(extractor, 3, sampling, spoken, clips)[7] for _ in range(2))
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(first).items())
    assert first.input_features.shape == (100, 16)
    assert first.mouth.shape == (50, 30)
    assert first.weight.shape == (50,)


def test_a_window_without_speech_keeps_the_mouth_closed():
    extractor = SuperFaceAudioToLipModel(tiny()).feature_extractor
    window = SpeechWindows(extractor, 0, SpeechSampling(seconds=1.0, quiet=1.0))[0]
    assert (mouth_opening(window.mouth) < CLOSED).all()


def test_a_faster_window_has_a_faster_mouth(spoken):
    """Speed moves sound and labels alike: the frames in which the sound is loud stay those in which the mouth is open."""
    extractor = SuperFaceAudioToLipModel(tiny()).feature_extractor
    clean = SoundAugment(noise=0, reverberation=0, band=0, telephone=0, clipping=0, speed=(1.5, 1.5))
    windows = SpeechWindows(extractor, 0, SpeechSampling(seconds=1.5, quiet=0.0, augment=clean), spoken)
    found = [windows[index] for index in range(12)]
    loud = torch.cat([window.input_features.max(1).values[::2] for window in found])
    opening = torch.cat([mouth_opening(window.mouth) for window in found])
    assert np.corrcoef(loud, opening)[0, 1] > 0.35


def test_the_loss_is_zero_only_for_the_truth(spoken):
    truth = torch.from_numpy(spoken[0].mouth[:100])[None]
    weight = torch.ones(1, len(truth[0]))
    nothing, _ = lip_loss(truth, truth, weight, LipLossWeights())
    assert nothing < 0.02
    rest = torch.from_numpy(closed_mouth())
    mumbled, terms = lip_loss(rest + 0.3 * (truth - rest), truth, weight, LipLossWeights())
    assert mumbled > 0.5
    assert terms["amplitude"] > 0.4
    opened, terms = lip_loss(
        truth + torch.from_numpy(mouth_of(pose_scores("a")[None])), truth, weight, LipLossWeights()
    )
    assert terms["closure"] > 1.0
    assert opened > mumbled


def test_frames_that_do_not_count_do_not_change_the_loss(spoken):
    truth = torch.from_numpy(spoken[0].mouth[:100])[None]
    weight = torch.ones(1, 100)
    weight[:, 40:60] = 0
    wrong = truth.clone()
    wrong[:, 41:59] += 1.0
    assert lip_loss(wrong, truth, weight, LipLossWeights())[0] < 0.02


def test_a_clip_s_mouth_is_given_on_a_closed_rest(clips):
    """Who smiles all the time is shown as a neutral person who says the same."""
    times = np.arange(50) / 25
    plain, smiling = (replace(clip, mouth=clips[0].mouth + clip.rest - clips[0].rest) for clip in clips)
    assert np.allclose(plain.mouth_at(times)[0], smiling.mouth_at(times)[0], atol=0.4)
    assert mouth_opening(plain.mouth_at(times)[0]).min() < CLOSED


def test_alignment_finds_by_how_much_the_sound_is_late(spoken, clips):
    class Oracle(SuperFaceAudioToLipModel):
        def predict(self, samples, fps, frames=None):
            return spoken[0].mouth[:frames]  # knows when the sound is right

    late = replace(clips[0], samples=spoken[0].samples, mouth=clips[0].mouth[2:], found=clips[0].found[2:], person="?")
    found = align([clips[0], clips[0], late], Oracle(tiny()))[2]
    assert found.offset == pytest.approx(0.08, abs=0.021)  # two of its frames
    assert found.agreement > 0.9


def test_people_held_out_are_in_no_training_clip(clips):
    many = [replace(clips[0], person=f"person {n % 20}") for n in range(40)]
    train, held_out = split_people(many)
    assert held_out
    assert not {clip.person for clip in train} & {clip.person for clip in held_out}


def test_a_person_with_many_clips_is_not_drawn_as_many_times(clips):
    many = [replace(clips[0], person="one")] * 9 + [replace(clips[0], person="two")]
    weights = person_weights(many, balance=1.0)
    assert weights[9] == pytest.approx(weights[:9].sum())


def test_frames_of_a_turned_head_and_cuts_are_not_believed(face_model):
    angles = np.zeros(40)
    angles[10:20] = 1.2
    rotation = np.stack([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    landmarks = face_model.mean.numpy()[None] @ rotation.transpose(0, 2, 1) * 0.3
    landmarks[30:] += [1.0, 0, 0]
    clip = PreparedClip(
        "train_000", "train", 25.0, (100, 100), landmarks.astype(np.float32), np.zeros((40, 52), np.float32),
        np.ones(40, bool), np.zeros(0, np.int64), [],
    )  # fmt: skip
    found = speech_clip(clip, "someone", np.zeros(25600, np.float32)).found
    assert not found[10:20].any()
    assert not found[29:31].any()
    assert found[:9].all()


def test_augmented_sound_keeps_its_time_and_range():
    """A click stays where it was, whatever is done to the sound around it."""
    rng = np.random.default_rng(0)
    click = np.zeros(SAMPLING_RATE, np.float32)
    click[8000:8400] = 0.5 * np.sin(np.arange(400))
    always = SoundAugment(noise=1, reverberation=1, band=1, telephone=1, clipping=1)
    for _ in range(8):
        worse = always(click, rng)
        assert worse.shape == click.shape
        assert worse.dtype == np.float32
        assert np.abs(worse).max() <= 1
        power = (worse.reshape(-1, 400) ** 2).mean(1)
        assert abs(int(power.argmax()) - 20) <= 1


def test_mu_law_keeps_quiet_sounds():
    quiet = 0.01 * np.sin(np.arange(1000) / 5)
    assert np.corrcoef(quiet, mu_law(quiet))[0, 1] > 0.98


def labels_of(name: str, split: str) -> PreparedClip:
    """An entry of a prepared set, of a video with sound."""
    return PreparedClip(
        name, split, 25.0, (100, 100), np.zeros((1, 478, 3), np.float32), None, np.ones(1, bool), np.zeros(0, np.int64), [],
        origin=Origin(raw=f"{name}.mp4", sound=True),
    )  # fmt: skip


def test_clips_whose_sound_is_not_the_face_s_are_left_out_of_training_only(tmp_path, clips):
    """Clips come from the cache with the offsets that were found for them."""
    cache = tmp_path / "cache"
    for split, names in (("train", ("train_000", "train_001")), ("val", ("val_000",))):
        write_clips(tmp_path, split, [labels_of(name, split) for name in names])
        for labels in load_clips(tmp_path, split, pictures=False):
            _store(clips[0], fitted_path(cache, labels, tmp_path / "clips"))
    judged = {"train_000": (0.08, 0.6), "train_001": (0.0, 0.1), "val_000": (-0.04, 0.1)}
    save_offsets([replace(clips[0], name=n, offset=o, agreement=a) for n, (o, a) in judged.items()], cache)
    (train,) = load_speech_clips(tmp_path, tmp_path, "train", cache)
    (val,) = load_speech_clips(tmp_path, tmp_path, "val", cache)
    assert (train.name, train.offset, val.offset) == ("train_000", 0.08, -0.04)
    assert np.array_equal(train.mouth, clips[0].mouth)
    assert len(load_speech_clips(tmp_path, tmp_path, "train", cache, with_offsets=False)) == 2


def test_another_set_with_the_same_names_has_fitted_clips_of_its_own(tmp_path):
    labels = labels_of("train_000", "train")
    mine = fitted_path(tmp_path, labels, tmp_path)
    assert fitted_path(tmp_path, labels, tmp_path) == mine
    others = [
        fitted_path(tmp_path, replace(labels, landmarks=labels.landmarks + 1), tmp_path),
        fitted_path(tmp_path, replace(labels, origin=replace(labels.origin, start=1.0)), tmp_path),
        fitted_path(tmp_path, labels, tmp_path / "elsewhere"),
    ]
    (tmp_path / "train_000.mp4").write_bytes(b"another video")
    others.append(fitted_path(tmp_path, labels, tmp_path))
    assert len({mine, *others}) == 5


def test_an_animator_s_curves_open_and_round_the_mouth():
    zeros = np.zeros(3)
    open_wide = arkit_scores({"mouth_stretch_c": np.array([0.0, 0.5, 1.0]), "mouth_pucker_l": zeros})
    assert np.all(np.diff(mouth_opening(mouth_of(open_wide))) > 0.03)
    sides = arkit_scores({"mouth_pucker_l": zeros + 1, "mouth_pucker_r": zeros})
    assert sides[0, arkit_index("mouthPucker")] == pytest.approx(0.3)  # the mean of both sides


def test_an_average_of_runs_opens_as_far_as_asked():
    torch.manual_seed(0)
    one, other = (SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=8)).eval() for _ in range(2))
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    alone = copy.deepcopy(one).predict(samples, 25.0)
    same = soup([copy.deepcopy(one), copy.deepcopy(one)]).predict(samples, 25.0)
    assert np.allclose(same, alone, atol=1e-5)
    wider = soup([copy.deepcopy(one)], reach=1.5).predict(samples, 25.0)
    assert np.allclose(wider - closed_mouth(), 1.5 * (alone - closed_mouth()), atol=1e-4)
    both = soup([copy.deepcopy(one), other])
    expected = (one.network.head.weight + other.network.head.weight) / 2
    assert torch.allclose(both.network.head.weight, expected)
    with pytest.raises(SuperFaceError, match="differ in size"):
        soup([one, SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16))])


def test_everybody_gets_a_common_range():
    rng = np.random.default_rng(1)
    quiet, loud = (
        SpeechClip(name, name, 25.0, np.zeros(64000, np.float32), factor * rng.normal(0, 1, (100, 30)).astype(np.float32),
                   np.ones(100, bool))
        for name, factor in (("quiet", 0.5), ("loud", 1.0))
    )  # fmt: skip
    before = [float(np.std(mouth_opening(clip.mouth))) for clip in (quiet, loud)]
    after = [float(np.std(mouth_opening(clip.mouth))) for clip in at_common_range([quiet, loud], share=1.0)]
    assert before[1] > 1.5 * before[0]
    assert after[1] == pytest.approx(after[0], rel=0.1)
    kept = at_common_range([quiet, loud])[0]
    assert np.allclose(kept.rest, quiet.rest, atol=0.1)


def test_features_are_masked_but_keep_their_time():
    rng = np.random.default_rng(2)
    features = np.zeros((100, 64), np.float32)
    features[50] = 5.0
    changed = [FeatureAugment(time_masks=0)(features, rng) for _ in range(20)]
    assert all(each.shape == features.shape for each in changed)
    assert all(np.abs(each - each[0]).mean(1).argmax() == 50 for each in changed)
    assert any(not np.array_equal(each, features) for each in changed)
    assert np.array_equal(features[50], np.full(64, 5.0))  # the given ones stay
