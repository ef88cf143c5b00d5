"""Synthetic speech says when each sound is, and its mouth does what lips do."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from superface_hf.data.speech import synthetic_speech
from superface_hf.data.speech.espeak import Espeak, espeak
from superface_hf.data.speech.synthetic_speech import (
    FRAME_RATE,
    SAMPLING_RATE,
    TEST_VOICES,
    cached_utterances,
    utterances,
)
from superface_hf.data.speech.synthetic_text import LANGUAGES, something_to_say
from superface_hf.data.speech.visemes import VISEMES, Phoneme, closed_mouth, mouth_of, mouth_track, pose_scores
from superface_hf.face_model.lips import CLOSED, lip_points, mouth_opening
from superface_hf.face_model.topology import LIPS_OUTER

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
needs_voices = pytest.mark.skipif(
    shutil.which("espeak-ng") is None or shutil.which("flite") is None, reason="espeak-ng or flite is not installed"
)


def said(*symbols: str, each: float = 0.12, pause: float = 0.5) -> list[Phoneme]:
    """These sounds after each other, ``each`` seconds long; "" is a pause."""
    phonemes, time = [], 0.0
    for symbol in ("", *symbols, ""):
        length = each if symbol else pause
        phonemes.append(Phoneme(symbol, time, time + length))
        time += length
    return phonemes


def openings(phonemes: list[Phoneme], fps: float = 100.0) -> np.ndarray:
    return mouth_opening(mouth_track(phonemes, round(phonemes[-1].end * fps), fps))


def test_the_resting_mouth_is_closed():
    assert mouth_opening(closed_mouth()) < CLOSED / 2


@pytest.mark.parametrize("each", [0.04, 0.08, 0.15])
@pytest.mark.parametrize("bilabial", ["p", "b", "m"])
def test_lips_touch_for_bilabials_at_any_speed(bilabial, each):
    phonemes = said("a", bilabial, "a", each=each)
    opening = openings(phonemes)
    inside = slice(round(phonemes[2].start * 100), round(phonemes[2].end * 100) + 1)
    assert opening[inside].min() < CLOSED


def test_a_vowel_between_bilabials_opens():
    opening = openings(said("p", "a", "p"))
    assert opening[round(100 * (0.5 + 0.18))] > 2 * CLOSED


def test_a_released_stop_opens_before_its_end():
    phonemes = [
        Phoneme("", 0, 0.5),
        Phoneme("p", 0.5, 0.6, release=0.53),
        Phoneme("a", 0.6, 0.8),
        Phoneme("", 0.8, 1.3),
    ]
    opening = openings(phonemes)
    assert opening[51] < CLOSED < opening[59]


def test_the_lower_lip_closes_for_labiodentals():
    opening = openings(said("a", "f", "a"))
    assert opening[round(100 * 0.68)] < 1.5 * CLOSED


def test_long_pauses_close_the_mouth_and_short_ones_do_not():
    long = openings(said("a", "", "a", pause=0.5))
    assert long[round(100 * (0.5 + 0.12 + 0.25))] < CLOSED
    short = openings([Phoneme("a", 0, 0.2), Phoneme("", 0.2, 0.25), Phoneme("a", 0.25, 0.5)])
    assert short[22] > CLOSED


def test_lips_round_before_a_rounded_vowel_is_heard():
    def width(mouth: np.ndarray) -> np.ndarray:
        lips = lip_points(mouth)[:, : len(LIPS_OUTER), 0]
        return lips.max(1) - lips.min(1)

    tracks = {vowel: mouth_track(said("s", "t", vowel), 150, 100.0) for vowel in "iu"}
    during_t = round(100 * (0.5 + 0.12 + 0.08))
    assert width(tracks["u"])[during_t] < width(tracks["i"])[during_t] - 0.01


def test_open_vowels_open_further_than_close_ones():
    opening = {vowel: mouth_opening(mouth_of(pose_scores(VISEMES[vowel].pose)[None]))[0] for vowel in "aeiu"}
    assert opening["a"] > opening["e"] > opening["i"] > opening["u"] > CLOSED


def test_every_language_has_something_to_say():
    rng = np.random.default_rng(0)
    for language in LANGUAGES:
        assert all(something_to_say(language, rng).strip() for _ in range(5))


@needs_espeak
def test_times_of_phonemes_are_those_of_the_sound():
    sound, phonemes = espeak().speak("A happy map.", "en-us", 150, 50, 50)
    spoken = [phoneme for phoneme in phonemes if phoneme.signs]
    assert sum(phoneme.bilabial for phoneme in spoken) == 3
    # Just before the lips let go in "happy", little is heard; in the vowel before it, much.
    index = next(i for i, phoneme in enumerate(spoken) if phoneme.bilabial)
    stop, vowel = spoken[index], spoken[index - 1]

    def power(start: float, end: float) -> float:
        return float((sound.samples[round(start * sound.rate) : round(end * sound.rate)] ** 2).mean())

    assert power(stop.release - 0.03, stop.release - 0.01) < 0.05 * power(vowel.start, vowel.end)


@needs_espeak
def test_an_unknown_voice_is_refused():
    with pytest.raises(ValueError, match="no voice 'xx-nobody'"):
        espeak().speak("Hello", "xx-nobody", 150, 50, 50)


def test_without_espeak_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(RuntimeError, match="apt install espeak-ng"):
        Espeak()


@needs_voices
def test_utterances_are_complete_and_reproducible():
    first, again = (list(utterances(3, seed=5)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert (one.voice, one.text) == (other.voice, other.text)
        assert one.seconds == pytest.approx(other.seconds, abs=0.1)
        assert [phoneme.symbol for phoneme in one.phonemes] == [phoneme.symbol for phoneme in other.phonemes]
        assert len(one.mouth) == np.ceil(len(one.samples) / SAMPLING_RATE * FRAME_RATE)
        assert one.phonemes[0].start == 0
        for before, after in zip(one.phonemes, one.phonemes[1:], strict=False):
            assert after.start == pytest.approx(before.end, abs=2e-3)
        assert one.phonemes[-1].end == pytest.approx(one.seconds)
        assert np.abs(one.samples).max() <= 1


@needs_voices
def test_voices_for_testing_are_in_no_training_set():
    rng = np.random.default_rng(0)
    trained = {synthetic_speech._training_voice(rng) for _ in range(3000)}
    kept_apart = {voice.partition("+")[2] or voice for voice in TEST_VOICES}
    assert not {voice.partition("+")[2] or voice for voice in trained} & kept_apart
    assert {one.voice for one in utterances(3, test=True)} <= set(TEST_VOICES)


@needs_voices
def test_a_cached_utterance_is_the_one_that_was_made(tmp_path):
    made, found = (cached_utterances(1, 0, tmp_path)[0] for _ in range(2))
    assert np.array_equal(made.samples, found.samples)
    assert np.array_equal(made.mouth, found.mouth)
    assert made.phonemes == found.phonemes
    assert (made.voice, made.text) == (found.voice, found.text)
