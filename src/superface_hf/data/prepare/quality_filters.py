"""Measures of a clip's quality for training, and their thresholds.

A measure is a plain function of landmarks, pictures or sound; :data:`CHECKS` says which threshold each is held against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ...errors import MotionError
from ...face_model.lips import mouth_opening
from ...face_model.topology import inter_ocular
from ...utils.settings import number

if TYPE_CHECKING:
    from ...models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel
    from ...motion import Motion

SHARPNESS_SIDE = 160  # pixels that the face is brought to before its sharpness is measured
HALF_FRAMES = 100  # of each half of a clip, from which the person's shape is taken
REACH = 95  # percentile that stands for the furthest turn: single frames may be the tracker's slip
HASH_PIXELS = 32  # side of the grey picture that a hash is made of
HASH_TOLERANCE = 8  # bits of 64 in which frames that look the same may differ
MOVEMENT_RATE, MIN_MOVEMENT = 25.0, 20  # samples a second; fewer samples are not compared
USUAL_OPENING, USUAL_TURN = 0.05, 0.05  # inter-ocular distances, radians: what a talking face moves by
MAX_SYNC_SHIFT = 0.6  # seconds that sound and picture are moved against each other
OTHER_SIDE = 0.5  # a second face counts from this share of the main one's size


@dataclass(frozen=True)
class QualityThresholds:
    """Thresholds; a clip that fails one is dropped, and the manifest names the threshold and the value.

    Attributes:
        min_seconds: shortest clip, seconds.
        min_seen: smallest share of the frames in which the face is found, 0 to 1.
        min_face_pixels: smallest face (median longer side of its landmarks' box), in pixels of the finished crop.
        min_face_share: smallest face as a share of the crop's side; a head that wanders needs a wide crop.
        min_sharpness: smallest variance of the Laplacian in the face's box at 160 pixels (median over frames), grey levels
            squared. Below about 10 nothing of lashes or teeth is left; well-lit 512 pixel footage has 100 to 250.
        max_turn: furthest turn of the head to the side, up or down (95th percentile of the frames), radians.
        min_turn_range: smallest range (5th to 95th percentile) of any of the three angles, radians: below it the
            "video" is a photograph.
        max_other_faces: largest share of the frames looked at (one a second) that show a second face at least half as
            large.
        max_identity_drift: largest mean distance of the neutral faces of a clip's two halves, in inter-ocular distances;
            two people differ by 0.027 on average, two halves of one person's clip by 0.004.
        max_duplicate: largest agreement (a correlation, at the best shift) of the movement of head and mouth with that of
            an earlier clip that looks the same.
        min_sync_confidence: smallest confidence of the sync expert that the sound belongs to this mouth, where there is
            sound; null only records it. A face's own sound has 0.3 on average, another's 0.13.
        max_sync_offset: largest offset of sound and picture, seconds; null only records it.
    """

    min_seconds: float = number(1.0, low=0.0)
    min_seen: float = number(0.9, low=0.0, high=1.0)
    min_face_pixels: float = number(96.0, low=0.0)
    min_face_share: float = number(0.3, low=0.0, high=1.0)
    min_sharpness: float = number(10.0, low=0.0)
    max_turn: float = number(1.1, low=0.0)
    min_turn_range: float = number(0.004, low=0.0)
    max_other_faces: float = number(0.2, low=0.0, high=1.0)
    max_identity_drift: float = number(0.025, low=0.0)
    max_duplicate: float = number(0.97, low=0.0, high=1.0)
    min_sync_confidence: float | None = number(None, low=0.0)
    max_sync_offset: float | None = number(None, low=0.0)

    def __post_init__(self) -> None:
        for field in fields(self):
            value, low, high = getattr(self, field.name), field.metadata["low"], field.metadata["high"]
            if value is not None and not (low <= value and (high is None or value <= high)):
                raise ValueError(f"{field.name} must lie between {low} and {high or 'any number above'}, not {value}.")


class Check(NamedTuple):
    """A filter's name, the measure it looks at, and the threshold: the least or the most that is kept."""

    filter: str
    measure: str
    threshold: str

    def passes(self, value: float, limit: float) -> bool:
        return value >= limit if self.threshold.startswith("min") else value <= limit


class Drop(NamedTuple):
    """Why a clip was dropped."""

    filter: str
    value: float
    limit: float


CHECKS = (
    Check("length", "seconds", "min_seconds"),
    Check("face seen", "seen", "min_seen"),
    Check("face size", "face_pixels", "min_face_pixels"),
    Check("face share", "face_share", "min_face_share"),
    Check("pose", "turn", "max_turn"),
    Check("still picture", "turn_range", "min_turn_range"),
    Check("one speaker", "other_faces", "max_other_faces"),
    Check("one identity", "identity_drift", "max_identity_drift"),
    Check("sharpness", "sharpness", "min_sharpness"),
    Check("sync offset", "sync_offset", "max_sync_offset"),
    Check("sync confidence", "sync_confidence", "min_sync_confidence"),
    Check("duplicate", "duplicate", "max_duplicate"),
)


def judge(measures: Mapping[str, float], thresholds: QualityThresholds) -> Drop | None:
    """The first check that fails; measures that are not there are not judged."""
    for check in CHECKS:
        limit = getattr(thresholds, check.threshold)
        value = measures.get(check.measure)
        if limit is not None and value is not None and not check.passes(abs(value), limit):
            return Drop(check.filter, value, limit)
    return None


def face_sides(landmarks: np.ndarray) -> np.ndarray:
    """The longer side of each face's box: (T, 478, 3) -> (T,), in the unit of the landmarks."""
    return np.ptp(landmarks[..., :2], axis=1).max(1)


def furthest_turn(rotation: np.ndarray) -> float:
    """How far the head turns to the side, up or down (a roll costs nothing): rotation vectors (T, 3), radians."""
    return float(np.percentile(np.abs(rotation[:, :2]).max(1), REACH))


def turn_range(rotation: np.ndarray) -> float:
    """How far the head moves about the axis it moves most about: rotation vectors (T, 3), radians."""
    low, high = np.percentile(rotation, [100 - REACH, REACH], axis=0)
    return float((high - low).max())


def identity_drift(faces: np.ndarray, fps: float) -> float:
    """How much the person's neutral face differs between the halves of a clip, in inter-ocular distances.

    Args:
        faces: (T, 478, 3) image coordinates of the frames with a face.
    """
    from ...face_model.linear import FaceModel

    def neutral(part: np.ndarray) -> np.ndarray:
        chosen = np.unique(np.linspace(0, len(part) - 1, HALF_FRAMES).astype(int))
        return FaceModel.default().fit(part[chosen], fps)[0].points.numpy()

    middle = len(faces) // 2
    if middle == 0:
        return 0.0
    change = neutral(faces[:middle]) - neutral(faces[middle:])
    return float(np.linalg.norm(change[:, :2], axis=-1).mean())


def other_faces(sizes: Sequence[Sequence[float]]) -> float:
    """Share of the frames looked at that show a second face of note; of each frame the faces' sides, largest first."""
    crowded = [len(sides) > 1 and sides[1] >= OTHER_SIDE * sides[0] for sides in sizes]
    return float(np.mean(crowded)) if crowded else 0.0


def sharpness(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Variance of the Laplacian in the face's box, brought to 160 pixels: what a larger picture would not show better.

    Args:
        picture: (H, W, 3) uint8.
        landmarks: (478, 3) pixels.
    """
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    half, centre = (high - low).max() / 2, (low + high) / 2
    height, width = picture.shape[:2]
    left, top = np.clip(centre - half, 0, [width - 1, height - 1])
    right, bottom = np.maximum(np.clip(centre + half, 0, [width, height]), [left + 1, top + 1])
    side = (SHARPNESS_SIDE, SHARPNESS_SIDE)
    face = Image.fromarray(picture).convert("L").resize(side, Image.Resampling.BICUBIC, (left, top, right, bottom))
    grey = np.asarray(face, np.float32)
    around = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


class CutDetector:
    """Finds the first frames of new shots while a video is read.

    A cut changes the whole picture at once: by ``difference`` (mean over a thumbnail, of full brightness) and by several
    times as much as the frames before it changed.
    """

    TIMES, MEMORY, SIDE = 4.0, 12, 32

    def __init__(self, difference: float) -> None:
        self.difference = difference
        self._last: np.ndarray | None = None
        self._recent: list[float] = []

    def __call__(self, frame: np.ndarray) -> bool:
        """Whether this frame (H, W, 3) uint8 is the first after a cut."""
        small = Image.fromarray(frame).resize((self.SIDE, self.SIDE), Image.Resampling.BOX, reducing_gap=2.0)
        thumbnail = np.asarray(small, np.float32) / 255
        last, self._last = self._last, thumbnail
        if last is None:
            return False
        change = float(np.abs(thumbnail - last).mean())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        self._recent = [*self._recent, change][-self.MEMORY :]
        return change > self.difference and change > self.TIMES * usual


def face_jumps(landmarks: np.ndarray, found: np.ndarray, distance: float = 1.0, growth: float = 0.4) -> np.ndarray:
    """Frames at which another face is followed: no head moves by an inter-ocular distance from one frame to the next.

    Args:
        landmarks: (T, 478, 3) pixels; found: (T,) bool.
        distance: inter-ocular distances between the centres of neighbouring frames with a face.
        growth: change of the size's logarithm.

    Returns:
        (K,) indices of the first frames of the other face.
    """
    seen = np.flatnonzero(found)
    faces = landmarks[seen]
    if len(seen) < 2:
        return np.zeros(0, np.int64)
    centres, sizes = faces[..., :2].mean(1), np.maximum(inter_ocular(faces), 1e-3)
    jump = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.maximum(sizes[1:], sizes[:-1]) > distance
    jump |= np.abs(np.diff(np.log(np.maximum(face_sides(faces), 1e-3)))) > growth
    jump &= np.diff(seen) == 1
    return seen[1:][jump]


def perceptual_hash(picture: np.ndarray) -> np.ndarray:
    """(8,) uint8: 64 bits, the signs of a small grey picture's slowest waves against their median.

    Scaling, another codec and a change of brightness alter few of them.
    """
    small = Image.fromarray(picture).convert("L").resize((HASH_PIXELS, HASH_PIXELS), Image.Resampling.BOX)
    waves = _WAVES @ np.asarray(small, np.float64) @ _WAVES.T
    waves[0, 0] = np.median(waves)  # the brightness
    return np.packbits(waves > np.median(waves))


def _cosines(count: int, size: int) -> np.ndarray:
    """(count, size): the slowest waves of the discrete cosine transform."""
    return np.cos(np.pi * np.arange(count)[:, None] * (np.arange(size) + 0.5) / size)


_WAVES = _cosines(8, HASH_PIXELS)


def movement(motion: Motion, found: np.ndarray) -> np.ndarray:
    """(T', 3) float16, 25 a second: how far the mouth is open, and how the head is turned, in usual amounts.

    Args:
        motion: of the frames that are ``found`` (T,).
    """
    opening = mouth_opening(motion.mouth) / USUAL_OPENING
    signals = np.concatenate([opening[:, None], motion.rotation[:, :2] / USUAL_TURN], axis=1)
    seen = np.flatnonzero(found)
    times = np.arange(0, len(found), motion.fps / MOVEMENT_RATE)
    return np.stack([np.interp(times, seen, column) for column in signals.T], axis=1).astype(np.float16)


def same_movement(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two movements (T, 3), (T', 3) are where they agree best: a correlation, over half of the shorter at least.

    Copies of a clip, cut and coded again, have 0.99; two takes of one person who says one word up to 0.96.
    """
    shorter, longer = sorted((one.astype(np.float64), other.astype(np.float64)), key=len)
    least = max(len(shorter) // 2, MIN_MOVEMENT)
    best = 0.0
    for shift in range(least - len(shorter), len(longer) - least + 1):
        a = shorter[max(0, -shift) : len(longer) - shift]
        b = longer[max(0, shift) : shift + len(shorter)]
        a, b = a - a.mean(0), b - b.mean(0)
        energy = np.sqrt((a * a).sum() * (b * b).sum())
        best = max(best, float((a * b).sum() / energy) if energy > 0 else 0.0)
    return min(best, 1.0)


class DuplicateIndex:
    """Finds clips that were seen before, in whole or in part: those whose frames look the same and that move the same.

    Looks alone cannot tell a copy from another take of the same person in the same place.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes: list[np.ndarray] = []
        self._movements: list[np.ndarray] = []
        # Frames that look the same agree in one of a hash's bands at least, almost certainly.
        self._bands: dict[tuple[int, int], set[int]] = defaultdict(set)

    def add(self, name: str, hashes: np.ndarray, moves: np.ndarray) -> None:
        """Remembers a clip by the hashes (K, 8) of its frames and its ``movement``."""
        for entry in self._entries(hashes):
            self._bands[entry].add(len(self._names))
        self._names.append(name)
        self._hashes.append(hashes)
        self._movements.append(moves)

    def find(self, hashes: np.ndarray, moves: np.ndarray) -> tuple[float, str]:
        """``same_movement`` with the earlier clip that moves most alike among those that look the same, and its name."""
        near = {clip for entry in self._entries(hashes) for clip in self._bands.get(entry, ())}
        best, name = 0.0, ""
        for clip in near:
            if looks_alike(hashes, self._hashes[clip]):
                agreement = same_movement(moves, self._movements[clip])
                if agreement > best:
                    best, name = agreement, self._names[clip]
        return best, name

    @staticmethod
    def _entries(hashes: np.ndarray) -> set[tuple[int, int]]:
        bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), -1)
        return {entry for row in bands.tolist() for entry in enumerate(row)}


def looks_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a third of the frames of the shorter clip look like some of the other: hashes (K, 8), (K', 8)."""
    fewer, more = sorted((one, other), key=len)
    apart = np.unpackbits(fewer[:, None] ^ more[None], axis=-1).sum(-1)
    return bool((apart.min(1) <= HASH_TOLERANCE).mean() >= 1 / 3)


def sync(samples: np.ndarray, mouth: np.ndarray, fps: float, expert: SuperFaceSyncExpertModel) -> dict[str, float]:
    """``sync_offset`` (seconds by which the picture is late) and ``sync_confidence``; nothing if the clip is too short.

    Args:
        samples: (N,) mono at the expert's sampling rate, heard from the first frame on.
        mouth: (T, 30) ``Motion.mouth``.
    """
    try:
        result = expert.offset(samples, mouth, fps, max_shift=max(1, round(MAX_SYNC_SHIFT * fps)))
    except MotionError:
        return {}
    return {"sync_offset": result.offset / fps, "sync_confidence": result.confidence}
