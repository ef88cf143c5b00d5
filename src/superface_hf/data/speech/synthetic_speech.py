"""Synthetic speech with exact phoneme times and the mouth that goes with it: aligned data without limit.

Voices are espeak-ng's languages and variants, and flite's; both are needed only for training and benchmarks. A few voices
are never trained on (``TEST_VOICES``), so that a benchmark can use them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...media import Sound, load_sound
from ...utils.files import write_arrays
from .espeak import espeak
from .synthetic_text import ENGLISH_VOICES, LANGUAGES, something_to_say
from .visemes import Phoneme, mouth_track

SAMPLING_RATE = 16000
FRAME_RATE = 50.0  # of the mouths

# espeak-ng: variants of a voice; the test voices' variants are used for nothing else. flite: its own voices.
TRAIN_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5", "Andy", "Gene", "Jacky", "Lee", "Mario",
                  "Alicia", "aunty", "belinda", "boris", "anika", "edward", "linda", "max", "steph", "shelby", "travis",
                  "whisper", "klatt2", "klatt4", "norbert", "")  # fmt: skip
TRAIN_FLITE = ("slt", "awb", "kal16")
TEST_VOICES = (
    "flite:rms",
    "espeak:en-us+Annie",
    "espeak:en+m7",
    "espeak:en+f4",
    "espeak:de+Denis",
    "espeak:es+Michael",
)
FLITE_SHARE = 0.3
# Between the sentences of an utterance, and around it.
GAP_SECONDS = (0.08, 1.2)
EDGE_SECONDS = (0.15, 0.6)
# Where a stop of flite, which marks closure and release as one, lets go.
FLITE_CLOSURE = 0.6

_IPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɜ", "ey": "eɪ", "f": "f",
    "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n",
    "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ",
    "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "dx": "ɾ", "pau": "",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Utterance:
    """Something said.

    Attributes:
        samples: (N,) float32 in [-1, 1] at 16 kHz.
        phonemes: what is said when, pauses included (their symbol is empty), without holes from 0 to the end.
        mouth: (T, 30) ``Motion.mouth`` coefficients at ``FRAME_RATE``.
        voice: "espeak:<language>+<variant>" or "flite:<name>".
        text: what was given to the voice.
    """

    samples: np.ndarray
    phonemes: list[Phoneme]
    mouth: np.ndarray
    voice: str
    text: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLING_RATE


def utterances(count: int, seed: int = 0, test: bool = False) -> Iterator[Utterance]:
    """Make ``count`` utterances of about 5 to 40 seconds.

    The same seed gives the same voices and words. The sound differs by a few milliseconds only, since espeak-ng carries a
    little from one sentence into the next.

    Args:
        test: voices of ``TEST_VOICES``, which are in no training set.

    Raises:
        RuntimeError: espeak-ng or flite is not installed.
    """
    for index in range(count):
        rng = np.random.default_rng((seed, index, int(test)))
        voice = str(rng.choice(TEST_VOICES)) if test else _training_voice(rng)
        yield utterance(voice, rng)


def utterance(voice: str, rng: np.random.Generator) -> Utterance:
    """Return one to three pieces of speech by ``voice``, with pauses between and around them."""
    engine, _, name = voice.partition(":")
    language = name.partition("+")[0] if engine == "espeak" else "en-us"
    manner = _Manner.draw(rng)
    texts, sounds, phonemes = [], [], [Phoneme("", 0.0, 0.0)]
    time = 0.0
    for piece in range(int(rng.integers(1, 4))):
        silence = rng.uniform(*(EDGE_SECONDS if piece == 0 else GAP_SECONDS))
        text = something_to_say(language, rng)
        samples, spoken = (_espeak if engine == "espeak" else _flite)(name, text, manner)
        if not len(samples):
            continue
        sounds += [np.zeros(round(silence * SAMPLING_RATE), np.float32), samples]
        time += round(silence * SAMPLING_RATE) / SAMPLING_RATE
        phonemes += [_moved(phoneme, time) for phoneme in spoken]
        time += len(samples) / SAMPLING_RATE
        texts.append(text)
    tail = round(rng.uniform(*EDGE_SECONDS) * SAMPLING_RATE)
    samples = np.clip(np.concatenate([*sounds, np.zeros(tail, np.float32)]), -1, 1)  # resampling overshoots
    phonemes = _loudness(_without_holes(phonemes, len(samples) / SAMPLING_RATE), samples)
    return _with_mouth(samples, phonemes, voice, " | ".join(texts))


def _with_mouth(samples: np.ndarray, phonemes: list[Phoneme], voice: str, text: str) -> Utterance:
    frames = int(np.ceil(len(samples) / SAMPLING_RATE * FRAME_RATE))
    return Utterance(samples, phonemes, mouth_track(phonemes, frames, FRAME_RATE), voice, text)


@dataclass(frozen=True)
class _Manner:
    """How fast and high a voice speaks: espeak-ng's numbers, and flite's as multiples of the voice's own."""

    speed: int
    pitch: int
    pitch_range: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Manner:
        return cls(int(rng.integers(115, 215)), int(rng.integers(20, 80)), int(rng.integers(25, 80)))


def _training_voice(rng: np.random.Generator) -> str:
    if rng.random() < FLITE_SHARE:
        return f"flite:{rng.choice(TRAIN_FLITE)}"
    language = rng.choice(ENGLISH_VOICES if rng.random() < 0.4 else LANGUAGES)
    variant = rng.choice(TRAIN_VARIANTS)
    return f"espeak:{language}+{variant}".rstrip("+")


def _espeak(name: str, text: str, manner: _Manner) -> tuple[np.ndarray, list[Phoneme]]:
    sound, phonemes = espeak().speak(text, name, manner.speed, manner.pitch, manner.pitch_range)
    return (sound.mono(SAMPLING_RATE) if len(sound.samples) else sound.samples), phonemes


def _flite(name: str, text: str, manner: _Manner) -> tuple[np.ndarray, list[Phoneme]]:
    program = shutil.which("flite")
    if program is None:
        raise RuntimeError("flite is needed to make synthetic speech: install it (Debian: apt install flite).")
    stretch = 165 / manner.speed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        settings = [
            "--setf",
            f"duration_stretch={stretch:.3f}",
            "--setf",
            f"int_f0_target_mean={70 + 2 * manner.pitch}",
        ]
        printed = subprocess.run(
            [program, "-voice", name, *settings, "-psdur", "-t", text, "-o", str(path)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        sound: Sound = load_sound(path)
    ends = [item.rsplit(":", 1) for item in printed.split()]
    return sound.mono(SAMPLING_RATE), _flite_phonemes([(phone, float(end)) for phone, end in ends])


def _flite_phonemes(ends: list[tuple[str, float]]) -> list[Phoneme]:
    phonemes, start = [], 0.0
    for phone, end in ends:
        if end < start:  # the next sentence's times begin again: none is, as far as seen
            raise ValueError(f"flite's times go back from {start} to {end} s.")
        symbol = _IPA[phone]
        release = start + FLITE_CLOSURE * (end - start) if symbol in ("p", "b") else None
        phonemes.append(Phoneme(symbol, start, end, release))
        start = end
    return phonemes


def _moved(phoneme: Phoneme, by: float) -> Phoneme:
    release = None if phoneme.release is None else phoneme.release + by
    return replace(phoneme, start=phoneme.start + by, end=phoneme.end + by, release=release)


def _without_holes(phonemes: list[Phoneme], seconds: float) -> list[Phoneme]:
    """Join pauses and fill holes, so that each sound begins where the last one ended."""
    spoken = [phoneme for phoneme in phonemes if phoneme.signs]
    result: list[Phoneme] = []
    time = 0.0
    for phoneme in spoken:
        if phoneme.start > time + 1e-3:
            result.append(Phoneme("", time, phoneme.start))
        result.append(phoneme)
        time = phoneme.end
    return [*result, Phoneme("", time, max(seconds, time))]


def _loudness(phonemes: list[Phoneme], samples: np.ndarray) -> list[Phoneme]:
    """Fill in each sound's loudness: its level against that of all speech, compressed."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    level = []
    for phoneme in phonemes:
        first, last = (min(round(time * SAMPLING_RATE), len(samples)) for time in (phoneme.start, phoneme.end))
        level.append(np.sqrt((energy[last] - energy[first]) / max(last - first, 1)))
    usual = np.median([value for value, phoneme in zip(level, phonemes, strict=True) if phoneme.signs] or [1.0])
    return [
        replace(phoneme, loudness=float((value / max(usual, 1e-6)) ** 0.35)) if phoneme.signs else phoneme
        for phoneme, value in zip(phonemes, level, strict=True)
    ]


def cached_utterances(count: int, seed: int, cache: Path) -> list[Utterance]:
    """Return the training utterances of :func:`utterances`, kept in ``cache`` for the next time."""
    found = []
    for index in range(count):
        path = cache / "synthetic" / f"{seed}_{index:05d}.npz"
        if not path.exists():
            rng = np.random.default_rng((seed, index, 0))
            _store(utterance(_training_voice(rng), rng), path)
        found.append(_restore(path))
    return found


def _store(said: Utterance, path: Path) -> None:
    times = [(p.start, p.end, np.nan if p.release is None else p.release, p.loudness) for p in said.phonemes]
    arrays = {
        "samples": (said.samples * 32767).astype(np.int16),
        "symbols": np.array([p.symbol for p in said.phonemes]),
        "times": np.array(times),
        "voice": np.array(said.voice),
        "text": np.array(said.text),
    }
    write_arrays(path, arrays)


def _restore(path: Path) -> Utterance:
    with np.load(path) as data:
        samples = data["samples"].astype(np.float32) / 32767
        phonemes = [
            Phoneme(str(symbol), start, end, None if np.isnan(release) else release, loudness)
            for symbol, (start, end, release, loudness) in zip(data["symbols"], data["times"].tolist(), strict=True)
        ]
        return _with_mouth(samples, phonemes, str(data["voice"]), str(data["text"]))
