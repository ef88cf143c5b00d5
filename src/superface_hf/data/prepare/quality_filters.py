"""Measures of a clip's quality for training, and their thresholds.

A measure is a plain function of landmarks, pictures or sound; :data:`CHECKS` says which threshold each is held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ...errors import MotionError
from ...utils.settings import number

if TYPE_CHECKING:
    from ...models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel

SHARPNESS_SIDE = 160  # pixels that the face is brought to before its sharpness is measured
HALF_FRAMES = 100  # of each half of a clip, from which the person's shape is taken
REACH = 95  # percentile that stands for the furthest turn: single frames may be the tracker's slip
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
    """Return the first check that fails; measures that are not there are not judged."""
    for check in CHECKS:
        limit = getattr(thresholds, check.threshold)
        value = measures.get(check.measure)
        if limit is not None and value is not None and not check.passes(abs(value), limit):
            return Drop(check.filter, value, limit)
    return None


def face_sides(landmarks: np.ndarray) -> np.ndarray:
    """Return the longer side of each face's box: (T, 478, 3) -> (T,), in the unit of the landmarks."""
    return np.ptp(landmarks[..., :2], axis=1).max(1)


def furthest_turn(rotation: np.ndarray) -> float:
    """Return how far the head turns to the side, up or down (a roll costs nothing): rotation vectors (T, 3), radians."""
    return float(np.percentile(np.abs(rotation[:, :2]).max(1), REACH))


def turn_range(rotation: np.ndarray) -> float:
    """Return how far the head moves about the axis it moves most about: rotation vectors (T, 3), radians."""
    low, high = np.percentile(rotation, [100 - REACH, REACH], axis=0)
    return float((high - low).max())


def identity_drift(faces: np.ndarray, fps: float) -> float:
    """Return how much the person's neutral face differs between the halves of a clip, in inter-ocular distances.

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
    """Return the share of the frames looked at that show a second face of note; of each frame the faces' sides, largest
    first."""
    crowded = [len(sides) > 1 and sides[1] >= OTHER_SIDE * sides[0] for sides in sizes]
    return float(np.mean(crowded)) if crowded else 0.0


def sharpness(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Return the variance of the Laplacian in the face's box at a width of 160 pixels, so that larger pictures have no
    advantage.

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


def sync(samples: np.ndarray, mouth: np.ndarray, fps: float, expert: SuperFaceSyncExpertModel) -> dict[str, float]:
    """Measure ``sync_offset`` (seconds by which the picture is late) and ``sync_confidence``; nothing if the clip is too short.

    Args:
        samples: (N,) mono at the expert's sampling rate, heard from the first frame on.
        mouth: (T, 30) ``Motion.mouth``.
    """
    try:
        result = expert.offset(samples, mouth, fps, max_shift=max(1, round(MAX_SYNC_SHIFT * fps)))
    except MotionError:
        return {}
    return {"sync_offset": result.offset / fps, "sync_confidence": result.confidence}
