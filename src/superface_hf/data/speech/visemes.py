"""Lip poses for each speech sound, and how they blend into each other.

Poses are ARKit scores. They are blended after Cohen and Massaro (1993), "Modeling coarticulation in synthetic visual speech":
every sound pulls the mouth toward its pose with a dominance that falls off in time, more slowly for rounding than for the
opening. What may not be blended away is laid on top: lips that touch for /p b m/, a lower lip at the teeth for /f v/, and a
closed mouth in pauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...face_model.linear import FaceModel
from ...face_model.topology import INNER_LIPS
from ...motion import Motion
from ...motion.arkit import ARKIT_NAMES, arkit_index

BILABIALS = frozenset("pbm")
LABIODENTALS = frozenset("fv")
# Pauses at least this long (seconds) close the mouth; shorter ones are gone through with the lips apart.
CLOSING_PAUSE = 0.2
# How long lips take to come together and to part around a closure, and around a pause, in seconds. Into a pause they move
# while the last sound fades, so that they are shut when nothing is heard any more.
CLOSING, PARTING = 0.06, 0.05
PAUSE_CLOSING, PAUSE_OPENING, FADING = 0.08, 0.05, 0.05

# The pose of each sound. A plain name stands for its left and right form where it has two.
POSES: dict[str, dict[str, float]] = {
    "a": {"jawOpen": 0.42, "mouthLowerDown": 0.12, "mouthUpperUp": 0.06},
    "e": {"jawOpen": 0.27, "mouthStretch": 0.08, "mouthLowerDown": 0.12, "mouthUpperUp": 0.08, "mouthSmile": 0.06},
    "i": {"jawOpen": 0.13, "mouthStretch": 0.12, "mouthLowerDown": 0.12, "mouthUpperUp": 0.06, "mouthSmile": 0.12},
    "o": {"jawOpen": 0.30, "mouthFunnel": 0.14, "mouthPucker": 0.20},
    "u": {"jawOpen": 0.15, "mouthFunnel": 0.12, "mouthPucker": 0.48},
    "y": {"jawOpen": 0.14, "mouthFunnel": 0.12, "mouthPucker": 0.42},
    "ə": {"jawOpen": 0.20, "mouthLowerDown": 0.08, "mouthUpperUp": 0.04},
    "closed": {"mouthPress": 0.10, "mouthShrugLower": 0.05},
    "labiodental": {"jawOpen": 0.02, "mouthRollLower": 0.22, "mouthUpperUp": 0.10},
    "alveolar": {"jawOpen": 0.09, "mouthLowerDown": 0.14, "mouthUpperUp": 0.05},
    "sibilant": {"jawOpen": 0.05, "mouthLowerDown": 0.14, "mouthUpperUp": 0.05, "mouthStretch": 0.06},
    "dental": {"jawOpen": 0.13, "mouthLowerDown": 0.12, "mouthUpperUp": 0.05},
    "postalveolar": {"jawOpen": 0.06, "mouthFunnel": 0.24, "mouthPucker": 0.16, "mouthLowerDown": 0.06},
    "velar": {"jawOpen": 0.17, "mouthLowerDown": 0.08},
    "r": {"jawOpen": 0.11, "mouthFunnel": 0.10, "mouthPucker": 0.16},
    "w": {"jawOpen": 0.10, "mouthFunnel": 0.08, "mouthPucker": 0.52},
    "breath": {"jawOpen": 0.18, "mouthLowerDown": 0.05},
}
ROUNDING = ("mouthFunnel", "mouthPucker")


@dataclass(frozen=True)
class Viseme:
    """A pose, how strongly it insists on its opening and on its rounding, and whether it is a vowel's."""

    pose: str
    opening: float
    rounding: float
    vowel: bool = False


_TABLE = {
    "aɑɐäæʌɶ": Viseme("a", 1.0, 0.5, True),
    "eɛɜɘ": Viseme("e", 1.0, 0.7, True),
    "iɪɨj": Viseme("i", 1.0, 0.8, True),
    "oɔɒɤ": Viseme("o", 1.0, 1.0, True),
    "uʊɯʉ": Viseme("u", 1.0, 1.2, True),
    "yʏøœɵɥ": Viseme("y", 1.0, 1.2, True),
    "əɚɝᵻ": Viseme("ə", 0.6, 0.2, True),
    "pbm": Viseme("closed", 1.5, 0.1),
    "fvʋɱ": Viseme("labiodental", 2.0, 0.3),
    "tdnlɾrɹɫʎɲɳʈɖɭɬɮ": Viseme("alveolar", 0.8, 0.1),
    "szɕʑ": Viseme("sibilant", 1.4, 0.3),
    "θð": Viseme("dental", 1.2, 0.2),
    "ʃʒʂʐɻ": Viseme("postalveolar", 1.4, 1.0),
    "kgɡŋxɣqχʁcɟçɢɴħʕʔʝ": Viseme("velar", 0.5, 0.05),
    "wʍɸβ": Viseme("w", 1.3, 1.4),
    "hɦ": Viseme("breath", 0.15, 0.02),
}
VISEMES = {symbol: viseme for symbols, viseme in _TABLE.items() for symbol in symbols}
VISEMES |= {"ɹ": Viseme("r", 0.8, 0.5), "ɻ": Viseme("r", 0.8, 0.6)}


@dataclass(frozen=True)
class Phoneme:
    """One sound of an utterance.

    Attributes:
        symbol: IPA, possibly several signs ("aɪ", "tʃ", "ɔː"); empty for a pause.
        start, end: seconds.
        release: when the closure of a stop ends, in seconds; None takes the whole sound as closed.
        loudness: against the utterance's average, 1 is as loud.
    """

    symbol: str
    start: float
    end: float
    release: float | None = None
    loudness: float = 1.0

    @property
    def signs(self) -> list[str]:
        """The signs of ``symbol`` that have a viseme."""
        return [sign for sign in self.symbol if sign in VISEMES]

    @property
    def bilabial(self) -> bool:
        """Whether the lips touch in this sound."""
        return bool(self.signs) and self.signs[0] in BILABIALS

    @property
    def labiodental(self) -> bool:
        return bool(self.signs) and self.signs[0] in LABIODENTALS


@lru_cache(maxsize=1)
def closed_mouth() -> np.ndarray:
    """Return the mouth at rest (30,), lips touching: of all mouths whose inner lips meet, the one nearest to the neutral face.

    The neutral face itself is an average of many, and its lips are slightly apart.
    """
    model = FaceModel.default()
    upper, lower = np.array(INNER_LIPS).T
    gap = (model.mean[lower] - model.mean[upper]).numpy()[:, 1]
    change = (model.bases["mouth"][:, lower] - model.bases["mouth"][:, upper]).numpy()[..., 1].T  # (pairs, 30)
    gram = change @ change.T
    return (-change.T @ np.linalg.solve(gram + 1e-3 * np.trace(gram) * np.eye(len(gram)), gap)).astype(np.float32)


def mouth_of(scores: np.ndarray) -> np.ndarray:
    """Convert ARKit scores (T, 52) on a closed mouth to ``Motion.mouth`` (T, 30)."""
    return Motion.from_arkit(scores, fps=25.0).mouth + closed_mouth()


@lru_cache
def pose_scores(pose: str) -> np.ndarray:
    """Return the ARKit scores (52,) of one of ``POSES``."""
    scores = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in POSES[pose].items():
        for full in (name,) if name in ARKIT_NAMES else (f"{name}Left", f"{name}Right"):
            scores[arkit_index(full)] = value
    return scores


def mouth_track(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """Return the mouth (frames, 30) that speaks ``phonemes``; frame k is at ``k / fps`` seconds."""
    times = np.arange(frames) / fps
    scores = blended_scores(phonemes, times)
    for phoneme in phonemes:
        if phoneme.bilabial or phoneme.labiodental:
            pose = pose_scores("closed" if phoneme.bilabial else "labiodental")
            end = phoneme.end if phoneme.release is None else phoneme.release
            weight = _plateau(times, phoneme.start, end, CLOSING, PARTING)[:, None]
            # Rounding goes on through a closure: only what opens is taken back.
            held = pose + scores * _is_rounding() * 0.5
            scores = scores + weight * (held - scores)
    return mouth_of(scores * (1 - pauses_at(phonemes, times))[:, None])


def blended_scores(phonemes: Sequence[Phoneme], times: np.ndarray) -> np.ndarray:
    """Return ARKit scores (T, 52) at ``times`` (T,): every sound's pose weighed by its dominance."""
    rounding = _is_rounding()
    total = np.zeros((len(times), len(ARKIT_NAMES)))
    weight = np.full((len(times), 2), 1e-6)
    for phoneme in phonemes:
        signs = phoneme.signs
        step = (phoneme.end - phoneme.start) / max(len(signs), 1)
        for index, sign in enumerate(signs):
            viseme = VISEMES[sign]
            start = phoneme.start + index * step
            window = slice(*np.searchsorted(times, (start - 0.5, start + step + 0.5)))
            near = times[window]
            opening = viseme.opening * _dominance(near, start, start + step, 0.045, 0.045)
            rounded = viseme.rounding * _dominance(near, start, start + step, 0.11, 0.07)
            pose = pose_scores(viseme.pose) * (_emphasis(phoneme, step) if viseme.vowel else 1.0)
            total[window] += np.where(rounding, rounded[:, None], opening[:, None]) * pose
            weight[window] += np.stack([opening, rounded], axis=1)
    return total / np.where(rounding, weight[:, 1:], weight[:, :1])


def pauses_at(phonemes: Sequence[Phoneme], times: np.ndarray) -> np.ndarray:
    """Return how far a pause has closed the mouth at ``times`` (T,): 0 while speaking, 1 when it is shut."""
    spoken = [(phoneme.start, phoneme.end) for phoneme in phonemes if phoneme.signs]
    edges = np.array([(-np.inf, -np.inf), *spoken, (np.inf, np.inf)])
    shut = np.zeros(len(times))
    for before, after in zip(edges[:-1, 1], edges[1:, 0], strict=True):
        if after - before >= CLOSING_PAUSE:
            shut = np.maximum(
                shut,
                np.minimum(_rise((times - before + FADING) / PAUSE_CLOSING), _rise((after - times) / PAUSE_OPENING)),
            )
    return shut


def _is_rounding() -> np.ndarray:
    return np.isin(ARKIT_NAMES, ROUNDING)


def _emphasis(phoneme: Phoneme, seconds: float) -> float:
    """Return how far a vowel opens: loud ones further, and quick ones less far."""
    return float(np.clip(phoneme.loudness, 0.6, 1.3) * np.clip(0.55 + 4.0 * seconds, 0.7, 1.1))


def _dominance(times: np.ndarray, start: float, end: float, before: float, after: float) -> np.ndarray:
    """Return the dominance of a sound: full in its middle half, falling off on both sides with these time constants in
    seconds."""
    quarter = 0.25 * (end - start)
    early, late = start + quarter - times, times - (end - quarter)
    return np.exp(-np.maximum(early, 0) / before - np.maximum(late, 0) / after)


def _plateau(times: np.ndarray, start: float, end: float, rise: float, fall: float) -> np.ndarray:
    """Return 1 between ``start`` and ``end``, falling softly to 0 outside."""
    return np.minimum(_rise((times - start) / rise + 1), _rise((end - times) / fall + 1))


def _rise(x: np.ndarray) -> np.ndarray:
    """Return a raised cosine from 0 at 0 to 1 at 1."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(x, 0, 1))
