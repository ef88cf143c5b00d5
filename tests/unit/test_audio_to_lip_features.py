"""The log-mel features: the same for a file, a batch and a stream, and clear words for what is no sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superface_hf import MediaError, SuperFaceAudioToLipFeatureExtractor, SuperFaceError
from superface_hf.models.audio_to_lip.feature_extraction_audio_to_lip import SILENCE

RATE = 16000


@pytest.fixture
def extractor() -> SuperFaceAudioToLipFeatureExtractor:
    return SuperFaceAudioToLipFeatureExtractor()


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def tone(hertz: float, seconds: float = 0.5, level: float = 1.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (3, 1), (160, 1), (161, 2), (399, 3), (16000, 100)])
def test_there_is_a_frame_for_every_ten_milliseconds(extractor, samples: int, frames: int) -> None:
    features = extractor(noise(samples), sampling_rate=RATE)
    assert features["input_features"].shape == (1, frames, 64)
    assert features["input_features"].dtype == np.float32
    assert features["attention_mask"].shape == (1, frames)
    assert features["attention_mask"].all()


@pytest.mark.parametrize("sizes", [[1], [7, 160, 0, 1000], [200, 1], [399, 401], [5000]])
def test_pieces_of_any_size_give_the_features_of_the_whole(extractor, sizes: list[int]) -> None:
    sound = noise(3217)
    stream, parts, at, turn = extractor.stream(), [], 0, 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        parts.append(stream.push(sound[at : at + size]))
        at, turn = at + size, turn + 1
    parts.append(stream.flush())
    whole = extractor(sound)["input_features"][0]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_frame_hears_no_more_than_half_a_window_ahead(extractor) -> None:
    sound = noise(RATE)
    changed = sound.copy()
    changed[50 * 160 + 200 :] = 0
    one, other = (extractor(x)["input_features"][0] for x in (sound, changed))
    np.testing.assert_array_equal(one[:51], other[:51])
    assert np.abs(one[51] - other[51]).max() > 1e-3


def test_a_frame_comes_as_soon_as_its_window_is_full(extractor) -> None:
    stream = extractor.stream()
    assert len(stream.push(noise(199))) == 0
    assert len(stream.push(noise(1))) == 1


def test_a_batch_changes_no_frame_of_its_sounds(extractor) -> None:
    sounds = [noise(1000), noise(4000, 1), noise(1, 2)]
    batch = extractor(sounds, sampling_rate=RATE, return_tensors="pt")
    assert batch["input_features"].shape == (3, 25, 64)
    assert batch["attention_mask"].sum(1).tolist() == [7, 25, 1]
    for row, mask, sound in zip(batch["input_features"], batch["attention_mask"], sounds, strict=True):
        alone = extractor(sound, return_tensors="pt")["input_features"][0]
        torch.testing.assert_close(row[mask.bool()], alone)
        assert torch.all(row[~mask.bool()] == extractor.padding_value)


def test_silence_is_one_known_value(extractor) -> None:
    features = extractor(np.zeros(800, np.float32))["input_features"]
    np.testing.assert_allclose(features, SILENCE, atol=1e-6)
    assert pytest.approx(-1.75) == SILENCE


def test_a_tone_is_heard_in_its_band_and_ten_times_louder_is_twenty_decibels(extractor) -> None:
    bands = [int(extractor(tone(hertz))["input_features"][0, 20].argmax()) for hertz in (120, 500, 1000, 3000, 7000)]
    assert bands == sorted(set(bands))
    loud, soft = (extractor(tone(1000, level=level))["input_features"][0, 20].max() for level in (1.0, 0.1))
    assert loud - soft == pytest.approx(1.0, abs=1e-3)  # 20 dB is one unit
    assert loud == pytest.approx(45 / 20, abs=0.15)  # a full-scale tone is at about 0 dB


def test_lists_and_double_precision_are_taken(extractor) -> None:
    sound = noise(500)
    expected = extractor(sound)["input_features"]
    for same in (sound.tolist(), sound.astype(np.float64), torch.from_numpy(sound), [sound]):
        np.testing.assert_allclose(extractor(same)["input_features"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (noise(100), 8000, "resample"),
        (np.zeros(0, np.float32), RATE, "empty"),
        ([], RATE, "empty|no sound"),
        (np.zeros((2, 100), np.float32), RATE, "mono"),
        (np.array([0.0, np.nan], np.float32), RATE, "NaN"),
        (np.array([0.0, np.inf], np.float32), RATE, "NaN or infinite"),
        (np.zeros(100, np.int16), RATE, "integers"),
    ],
)
def test_what_is_no_sound_is_refused_clearly(extractor, sound, rate: int, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        extractor(sound, sampling_rate=rate)


def test_an_ended_stream_takes_no_more(extractor) -> None:
    stream = extractor.stream()
    assert stream.flush().shape == (0, 64)
    with pytest.raises(SuperFaceError, match="ended"):
        stream.push(noise(100))
    with pytest.raises(SuperFaceError, match="ended"):
        stream.flush()


def test_a_saved_extractor_comes_back(tmp_path: Path) -> None:
    extractor = SuperFaceAudioToLipFeatureExtractor(feature_size=40, max_frequency=4000)
    extractor(noise(500))
    extractor.save_pretrained(tmp_path)
    again = SuperFaceAudioToLipFeatureExtractor.from_pretrained(tmp_path)
    assert again.to_dict() == extractor.to_dict()
    np.testing.assert_array_equal(again(noise(500))["input_features"], extractor(noise(500))["input_features"])


def test_more_bands_than_the_window_can_tell_apart_are_refused() -> None:
    with pytest.raises(SuperFaceError, match="too many"):
        SuperFaceAudioToLipFeatureExtractor(feature_size=300)(noise(500))
