"""Talking faces with their sound: what the mouth of a real person does, and what is heard with it.

Labels come from a prepared set, sound from the clips themselves. Two things that no network can know from the sound are
taken out of the labels: how this person's mouth looks when it rests (a smile, lips that never quite meet), and how far the
sound of this recording is from its picture.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...face_model.linear import FaceModel
from ...face_model.lips import mouth_opening
from ...media import load_sound
from ...utils.files import write_arrays
from ..caching import digest
from ..prepared_set import PreparedClip, load_clips
from .visemes import closed_mouth

SAMPLING_RATE = 16000
# Below this agreement of mouth and sound (a correlation, see `SpeechClip`) the sound is probably not this face's.
MIN_AGREEMENT = 0.2
# Frames whose head is turned further than this (radians, any axis) have lips that the landmarker guesses.
MAX_TURN = 0.75
# The opening (inter-ocular distances) does not jump away and back by this much within one frame: the landmarker slipped.
SPIKE = 0.07
# A cut: from one frame to the next the face jumps by this many inter-ocular distances, or its size changes by this share.
CUT_DISTANCE, CUT_GROWTH = 0.4, 0.15
# A mouth at rest is the mean of this share of its least open frames.
REST_SHARE = 0.1
MIN_FRAMES = 20
# A person's range is changed by factors within these bounds: beyond, it is a mouth that hardly speaks, or a bad label.
RANGE_BOUNDS = (0.5, 2.0)
OFFSETS = "offsets.json"  # the table in the cache


class Clip(Protocol):
    """What is known of any clip: who is seen, and how long it is."""

    @property
    def person(self) -> str: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, eq=False)
class SpeechClip:
    """A talking person.

    Attributes:
        name: of the clip.
        person: who is seen, as far as the source tells; clips of one person share it.
        fps: frames per second of the labels.
        samples: (N,) float32 in [-1, 1], mono, 16 kHz.
        mouth: (T, 30) ``Motion.mouth`` coefficients fitted to the labels; where not ``found``, interpolated.
        found: (T,) bool, frames whose label can be believed.
        offset: seconds by which the sound is late: the mouth of frame k is heard at ``k / fps + offset``.
        agreement: correlation of the mouth's opening with what a model expects from the sound, after the offset; None where it
            was not measured yet.
    """

    name: str
    person: str
    fps: float
    samples: np.ndarray
    mouth: np.ndarray
    found: np.ndarray
    offset: float = 0.0
    agreement: float | None = None

    @cached_property
    def rest(self) -> np.ndarray:
        """(30,) this person's mouth when it is closed: the mean of the least open frames."""
        mouth = self.mouth[self.found]
        least = np.argsort(mouth_opening(mouth))[: max(3, round(REST_SHARE * len(mouth)))]
        return mouth[least].mean(0)

    @property
    def seconds(self) -> float:
        return len(self.mouth) / self.fps

    def mouth_at(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the clip's mouth on an average person's rest, while the sound is at ``seconds`` (K,).

        Returns:
            The mouth (K, 30), its rest replaced by the ``closed_mouth`` of the face model, and whether to believe it (K,).
        """
        position = (seconds - self.offset) * self.fps
        last = len(self.mouth) - 1
        inside = (position >= 0) & (position <= last)
        position = np.clip(position, 0, last)
        before = position.astype(int)
        after = np.minimum(before + 1, last)
        share = (position - before)[:, None]
        mouth = self.mouth[before] * (1 - share) + self.mouth[after] * share - self.rest + closed_mouth()
        return mouth.astype(np.float32), inside & self.found[before] & self.found[after]


def load_speech_clips(
    data: Path, prepared: Path, split: str, cache: Path = Path(".cache/speech"), with_offsets: bool = True
) -> list[SpeechClip]:
    """Return the clips of one split that have sound and a face, in name order.

    Args:
        data: folder with ``clips/``, the raw videos that were prepared.
        prepared: folder written by ``superface prepare``.
        split: "train" or "val".
        cache: folder where the fitted clips are kept for the next time, and where :func:`save_offsets` has put its table.
        with_offsets: whether to use that table. Training clips that it says disagree with their sound are left out (of val
            all stay). Clips that it does not know, or all, have an offset of 0.
    """
    table = cache / OFFSETS
    known: dict[str, Any] = json.loads(table.read_text()) if with_offsets and table.exists() else {}
    clips = []
    for labels in load_clips(prepared, split, pictures=False):
        if not labels.origin.sound:
            continue
        fitted = fitted_path(cache, labels, data / "clips")
        if not fitted.exists():
            clip = speech_clip(labels, person_of(labels), _sound_of(labels, data / "clips"))
            if clip is None:
                continue
            _store(clip, fitted)
        clip = _restore(fitted, labels.name, person_of(labels))
        clip = replace(clip, **known.get(_key(clip), {}))
        if split == "val" or clip.agreement is None or clip.agreement >= MIN_AGREEMENT:
            clips.append(clip)
    return clips


def fitted_path(cache: Path, labels: PreparedClip, folder: Path) -> Path:
    """Return the path of a fitted clip in the cache, named after its labels and their raw video in ``folder``."""
    raw = folder / labels.origin.raw
    video = (raw.stat().st_size, raw.stat().st_mtime_ns) if raw.exists() else None
    facts = digest(labels.landmarks, labels.found, labels.fps, labels.origin, str(raw.resolve()), video)
    return cache / "clips" / f"{labels.name}_{facts}.npz"


def _key(clip: SpeechClip) -> str:
    """Return the clip's key in the table of offsets: another set may have a clip of the same name."""
    return f"{clip.name}_{digest(clip.mouth.astype(np.float32), clip.fps)}"


def _sound_of(clip: PreparedClip, folder: Path) -> np.ndarray:
    """Read the raw video's sound from the clip's start to its end, (N,) mono."""
    samples = load_sound(folder / clip.origin.raw).mono(SAMPLING_RATE)
    start = round(clip.origin.start * SAMPLING_RATE)
    return samples[start : start + round(clip.seconds * SAMPLING_RATE)]


def _store(clip: SpeechClip, path: Path) -> None:
    write_arrays(path, {"fps": clip.fps, "samples": clip.samples, "mouth": clip.mouth, "found": clip.found})


def _restore(path: Path, name: str, person: str) -> SpeechClip:
    with np.load(path) as data:
        return SpeechClip(name, person, float(data["fps"]), data["samples"], data["mouth"], data["found"])


def save_offsets(clips: Sequence[SpeechClip], cache: Path) -> None:
    """Write offset and agreement of each clip into the cache of :func:`load_speech_clips`."""
    path = cache / OFFSETS
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {_key(clip): {"offset": clip.offset, "agreement": clip.agreement} for clip in clips}
    path.write_text(json.dumps(table, indent=1))


def person_of(clip: PreparedClip) -> str:
    """Name the person in a clip after the path it came from, or as the set does where the path is unknown."""
    return person_at(clip.origin.repo, clip.origin.path) if clip.origin.path else clip.person


def person_at(repo: str, path: str) -> str:
    """Return a name for who is seen in the clip that a repository has at ``path``.

    A folder of a repository mostly shows one person, unless its files are numbered samples; those, told apart by how their
    names begin, count as people of their own.
    """
    if repo in ONE_PERSON:
        return repo
    place = Path(path)
    begin = place.stem.rstrip("0123456789_").split("_")[0] or place.stem
    return f"{repo}/{place.parent}/{begin}"


# Repositories all of whose clips show one person.
ONE_PERSON = ("filyp/mcgurk_task", "arielephrat/vid2speech")


def at_common_range(clips: Sequence[SpeechClip], share: float = 0.8) -> list[SpeechClip]:
    """The clips with every person's mouth moving about as much as the median person's: how far somebody opens the mouth is a
    habit, and not heard.

    Args:
        clips: of any number of people.
        share: how much of the difference (of logarithms) goes; what is left may be heard after all.
    """
    spreads: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        opening = mouth_opening(clip.mouth[clip.found])
        spreads.setdefault(clip.person, []).append(opening - opening.mean())
    spread = {person: float(np.concatenate(parts).std()) for person, parts in spreads.items()}
    median = float(np.median(list(spread.values())))
    result = []
    for clip in clips:
        factor = np.clip(median / max(spread[clip.person], 1e-4), *RANGE_BOUNDS) ** share
        result.append(replace(clip, mouth=(clip.rest + (clip.mouth - clip.rest) * factor).astype(np.float32)))
    return result


def person_weights(clips: Sequence[Clip], balance: float) -> np.ndarray:
    """Return the probability of each clip: by its length; each of a person's n clips counts n ** -balance."""
    count = Counter(clip.person for clip in clips)
    weights = np.array([np.sqrt(clip.seconds) * count[clip.person] ** -balance for clip in clips])
    return weights / weights.sum()


def speech_clip(clip: PreparedClip, person: str, samples: np.ndarray) -> SpeechClip | None:
    """Fit the face model to a tracked clip; None if too few frames can be believed."""
    seen = np.flatnonzero(clip.found)
    if len(seen) < MIN_FRAMES:
        return None
    _, motion = FaceModel.default().fit(clip.landmarks[seen], clip.fps)
    good = np.abs(motion.rotation).max(1) < MAX_TURN
    good &= ~_spikes(mouth_opening(motion.mouth)) & ~_cuts(motion.translation, motion.scale)
    if good.sum() < MIN_FRAMES:
        return None
    found = np.zeros(len(clip.found), bool)
    found[seen[good]] = True
    frames = np.arange(len(found))
    mouth = np.stack([np.interp(frames, seen[good], column) for column in motion.mouth[good].T], axis=1)
    return SpeechClip(clip.name, person, clip.fps, samples.astype(np.float32), mouth.astype(np.float32), found)


def _spikes(opening: np.ndarray) -> np.ndarray:
    """Return the single frames (T,) whose opening is far from both neighbours, on the same side."""
    before, after = opening[1:-1] - opening[:-2], opening[1:-1] - opening[2:]
    spike = np.zeros(len(opening), bool)
    spike[1:-1] = (np.minimum(np.abs(before), np.abs(after)) > SPIKE) & (before * after > 0)
    return spike


def _cuts(translation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the frames (T,) beside a cut."""
    jump = np.linalg.norm(np.diff(translation, axis=0), axis=1) / scale[1:] > CUT_DISTANCE
    jump |= np.abs(np.diff(np.log(scale))) > CUT_GROWTH
    cut = np.zeros(len(scale), bool)
    cut[1:] |= jump
    cut[:-1] |= jump
    return cut
