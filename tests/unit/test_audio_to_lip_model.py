"""The audio-to-lip model: one answer for whole, batched and streamed sound, silence around it, a short look-ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from superface_hf import (
    MediaError,
    MotionError,
    SuperFaceAudioToLipConfig,
    SuperFaceAudioToLipFeatureExtractor,
    SuperFaceAudioToLipModel,
    SuperFaceError,
)

RATE = 16000


@pytest.fixture(scope="module")
def model() -> SuperFaceAudioToLipModel:
    torch.manual_seed(0)
    made = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=24)).eval()
    with torch.no_grad():
        made.network.head.weight.mul_(20)  # mouths of about one standard deviation
    return made


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Bursts, so that the features change in time."""
    random = np.random.default_rng(seed)
    samples = int(seconds * RATE)
    level = np.repeat(random.uniform(0, 0.3, samples // 800 + 1), 800)[:samples]
    return (level * random.normal(size=samples)).astype(np.float32)


def streamed(model: SuperFaceAudioToLipModel, sound: np.ndarray, fps: float, sizes: list[int]) -> np.ndarray:
    stream, parts, at, turn = model.stream(fps), [], 0, 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        parts.append(stream.push(sound[at : at + size]))
        at, turn = at + size, turn + 1
    return np.concatenate((*parts, stream.flush()))


@pytest.mark.parametrize(
    ("fps", "sizes"),
    [(25, [333]), (50, [1600, 1, 0, 7000]), (30, [4000]), (29.97, [100_000]), (60, [801]), (7, [1234]), (1, [5000])],
)
def test_a_stream_gives_what_the_whole_file_gives(model, fps: float, sizes: list[int]) -> None:
    sound = noise(2.345)
    whole = model.predict(sound, fps)
    assert whole.shape == (round(2.345 * fps), 30)
    assert whole.dtype == np.float32
    assert np.ptp(whole, axis=0).max() > 0.1 or fps < 10
    np.testing.assert_allclose(streamed(model, sound, fps, sizes), whole, atol=1e-4)


def test_a_stream_of_single_samples_gives_what_the_whole_file_gives(model) -> None:
    sound = noise(0.25)
    np.testing.assert_allclose(streamed(model, sound, 25, [1]), model.predict(sound, 25), atol=1e-4)


def test_long_sound_goes_through_in_blocks_without_a_seam(model) -> None:
    sound = noise(21)
    features = model.feature_extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        whole = model(**features).mouth[0].numpy()
    np.testing.assert_allclose(model.predict(sound, 50), whole, atol=1e-4)


def test_a_frame_between_two_inner_frames_is_between_them(model) -> None:
    sound = noise(1)
    inner = model.predict(sound, 50, frames=80)
    times = np.arange(30) / 30 * 50
    expected = np.stack([np.interp(times, np.arange(80), column) for column in inner.T], axis=1)
    np.testing.assert_allclose(model.predict(sound, 30), expected, atol=1e-4)


def test_a_batch_changes_no_row(model) -> None:
    sounds = [noise(0.5), noise(1.11, 1), noise(0.03, 2)]
    batch = model.feature_extractor(sounds, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch)
    for row, mask, sound in zip(output.mouth, output.attention_mask, sounds, strict=True):
        alone = model.predict(sound, 50, frames=int(mask.sum()))
        assert mask.sum() == -(-len(sound) // 320)
        np.testing.assert_allclose(row[mask.bool()].numpy(), alone, atol=1e-4)


def test_a_sound_is_surrounded_by_silence(model) -> None:
    sound, second = noise(1), np.zeros(RATE, np.float32)
    sound[:400] = sound[-400:] = 0  # no window of the analysis reaches over an edge
    alone = model.predict(sound, 25, frames=50)
    np.testing.assert_allclose(model.predict(np.concatenate((sound, second)), 25), alone, atol=1e-4)
    later = model.predict(np.concatenate((second, sound)), 25)
    np.testing.assert_allclose(later[25:], alone[:25], atol=1e-4)


def test_silence_is_one_unchanging_mouth(model) -> None:
    mouths = model.predict(np.zeros(3 * RATE, np.float32), 25)
    np.testing.assert_allclose(mouths, np.broadcast_to(mouths[:1], mouths.shape), atol=1e-5)


def test_a_frame_hears_as_far_ahead_as_promised_and_no_further(model) -> None:
    assert model.config.look_ahead <= 200
    sound, frame = noise(2), 30
    for fps, look_ahead in ((50, model.stream(50).latency), (30, model.stream(30).latency)):
        heard = int((frame / fps + look_ahead) * RATE)
        changed = [sound.copy(), sound.copy()]
        changed[0][heard:] = 0.5
        changed[1][heard - 640 :] = 0.5
        expected, after, before = (model.predict(x, fps)[: frame + 1] for x in (sound, *changed))
        np.testing.assert_allclose(after, expected, atol=1e-5)
        assert np.abs(before[frame] - expected[frame]).max() > 1e-4


@pytest.mark.parametrize("fps", [25, 30, 50, 60])
def test_a_frame_comes_as_soon_as_its_look_ahead_has_been_heard(model, fps: float) -> None:
    stream, sound, count = model.stream(fps), noise(1), 0
    for chunk in range(0, RATE, 160):
        count += len(stream.push(sound[chunk : chunk + 160]))
        heard = (chunk + 160) / RATE
        assert count >= int((heard - stream.latency - 0.02) * fps) + 1 or heard < stream.latency
        if heard >= stream.latency:
            assert count >= 1
    assert stream.latency <= 0.2


def test_any_sound_has_a_frame_and_more_can_be_asked_for(model) -> None:
    assert model.predict(noise(3 / RATE), 25).shape == (1, 30)
    assert model.predict(noise(1), 25, frames=7).shape == (7, 30)
    much = model.predict(noise(0.1), 25, frames=2000)
    assert much.shape == (2000, 30)
    np.testing.assert_allclose(much[-1], model.predict(np.zeros(100, np.float32), 25)[0], atol=1e-4)


def test_a_stream_that_heard_nothing_has_no_frames(model) -> None:
    stream = model.stream(25)
    assert stream.push(np.zeros(0, np.float32)).shape == (0, 30)
    assert stream.flush().shape == (0, 30)
    with pytest.raises(SuperFaceError, match="ended"):
        stream.push(noise(0.1))


@pytest.mark.parametrize(
    "sound", [np.zeros(0, np.float32), np.full(99, np.nan), np.zeros((9, 2)), np.zeros(9, np.int16)]
)
def test_what_is_no_sound_is_refused(model, sound: np.ndarray) -> None:
    with pytest.raises(MediaError):
        model.predict(sound, 25)


@pytest.mark.parametrize("fps", [0, -25, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_refused(model, fps: float) -> None:
    with pytest.raises(MotionError, match="fps"):
        model.predict(noise(0.1), fps)
    with pytest.raises(MotionError, match="fps"):
        model.stream(fps)


def test_training_reaches_every_weight() -> None:
    torch.manual_seed(0)
    made = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=(1, 2))).train()
    batch = made.feature_extractor([noise(0.5), noise(0.3)], return_tensors="pt")
    before = [weight.detach().clone() for weight in made.parameters()]
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = (made(**batch).mouth - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert not any(torch.equal(old, new) for old, new in zip(before, made.parameters(), strict=True))


def test_the_auto_classes_bring_a_saved_folder_back(model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is SuperFaceAudioToLipModel
    assert type(AutoConfig.from_pretrained(tmp_path)) is SuperFaceAudioToLipConfig
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(extractor) is SuperFaceAudioToLipFeatureExtractor
    assert extractor.to_dict() == model.feature_extractor.to_dict()
    sound = noise(0.5)
    np.testing.assert_array_equal(again.predict(sound, 25), model.predict(sound, 25))


def test_weights_stored_in_half_precision_load_as_float32(tmp_path: Path) -> None:
    made = SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(hidden_size=16, dilations=(1,))).half()
    made.save_pretrained(tmp_path)
    assert SuperFaceAudioToLipModel.from_pretrained(tmp_path).dtype == torch.float32
    assert AutoModel.from_pretrained(tmp_path).dtype == torch.float32
    assert SuperFaceAudioToLipModel.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16


def test_the_default_is_small_and_within_its_delay() -> None:
    config = SuperFaceAudioToLipConfig()
    assert 1e6 < SuperFaceAudioToLipModel(config).num_parameters() < 3e6
    assert config.look_ahead == pytest.approx(182.5)
    assert config.receptive_field / config.frame_rate == pytest.approx(1.58)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"look_ahead_frames": 8}, "look_ahead_frames=8"),
        ({"look_ahead_frames": -1}, "look_ahead_frames"),
        ({"frame_rate": 30}, "whole number of hops"),
        ({"hop_length": 0}, "hop_length"),
        ({"window_length": 100}, "window_length"),
        ({"max_frequency": 9000}, "max_frequency"),
        ({"dilations": ()}, "dilations"),
        ({"dropout": 1.0}, "dropout"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"audio_encoder_config": {"model_type": "wav2vec2"}}, "name the audio_encoder"),
    ],
)
def test_impossible_configurations_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        SuperFaceAudioToLipConfig(**wrong)
