"""Find the stretches of a raw video in which one face is followed: from scene cut to scene cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from PIL import Image

from ...face_model.coordinates import Square
from ...face_model.topology import inter_ocular
from ...media import VideoReader
from ...motion import Motion
from ..prepared_set import POINTS, SCORES
from . import quality_filters as quality
from .labels import Label, Labeller
from .report import RawReport
from .settings import PrepareSettings


@dataclass
class Segment:
    """A part of a shot in which one face is followed.

    Attributes:
        start: its first frame in the raw video.
        landmarks: (T, 478, 3) pixels of the raw video, zero where not found; blendshapes: (T, 52) or None; found: (T,).
        others: the sides of the faces in the frames that were searched for further ones.
    """

    start: int
    landmarks: np.ndarray
    blendshapes: np.ndarray | None
    found: np.ndarray
    others: list[list[float]]
    number: int | None = None
    measures: dict[str, float] = field(default_factory=dict)
    square: Square | None = None
    motion: Motion | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.found)


def find_segments(
    video: VideoReader, labeller: Labeller, settings: PrepareSettings, report: RawReport
) -> tuple[list[Segment], tuple[int, int]]:
    """Read the whole video, and return its segments in order and its (height, width)."""
    is_cut = CutDetector(settings.cut_difference)
    shot, frames, size = 0, 0, (0, 0)

    def numbered() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal shot, frames, size
        for frame in video:
            if is_cut(frame):
                shot += 1
                report.cuts.append(round(frames / video.fps, 3))
            frames, size = frames + 1, frame.shape[:2]
            yield shot, frame

    segments: list[Segment] = []
    start = 0
    for _, group in groupby(numbered(), key=lambda pair: pair[0]):
        found = _track_shot((frame for _, frame in group), start, labeller, video.fps, settings)
        start += sum(len(part.found) for part in found)
        segments += found
    report.seconds = round(frames / video.fps, 3)
    whole = len(segments) == 1 and len(segments[0].found) == frames
    seen = [segment for segment in segments if segment.found.any()]
    for number_, segment in enumerate(seen):
        segment.number = None if whole else number_
    return segments, size


def _track_shot(
    frames: Iterator[np.ndarray], start: int, labeller: Labeller, fps: float, settings: PrepareSettings
) -> list[Segment]:
    """Follow the main face of a shot; all of its frames are in one of the segments."""
    every = max(1, round(fps))
    others: list[tuple[int, list[float]]] = []

    def looked_at() -> Iterator[np.ndarray]:
        for index, frame in enumerate(frames):
            if index % every == every // 2:
                sides = [float(np.ptp(label.face.box.reshape(2, 2), axis=0).max()) for label in labeller.find(frame)]
                others.append((index, sorted(sides, reverse=True)))
            yield frame

    labels = list(labeller.follow(looked_at()))
    found = np.array([label is not None for label in labels])
    landmarks = np.stack(
        [np.zeros((POINTS, 3), np.float32) if label is None else label.face.landmarks for label in labels]
    )
    scores = _scores(labels)
    parts = []
    for first, last in _parts(landmarks, found, fps, settings):
        looked = [sides for index, sides in others if first <= index < last]
        part = slice(first, last)
        parts.append(
            Segment(start + first, landmarks[part], None if scores is None else scores[part], found[part], looked)
        )
    return parts


def _scores(labels: list[Label | None]) -> np.ndarray | None:
    """Return (T, 52), zero where there is no face; None if the labeller gives none."""
    if all(label is None or label.blendshapes is None for label in labels):
        return None
    nothing = np.zeros(SCORES, np.float32)
    return np.stack([nothing if label is None or label.blendshapes is None else label.blendshapes for label in labels])


def _parts(landmarks: np.ndarray, found: np.ndarray, fps: float, settings: PrepareSettings) -> list[tuple[int, int]]:
    """Choose where to cut a shot, as (first, last + 1): before other faces, around long gaps, and at the longest length."""
    edges = {0, len(found), *face_jumps(landmarks, found).tolist()}
    seen = np.flatnonzero(found)
    around = np.concatenate([[-1], seen, [len(found)]])
    for before, after in pairwise(around):
        if after - before - 1 > settings.max_gap_seconds * fps:
            edges |= {int(before) + 1, int(after)}
    ordered = sorted(edges)
    parts = []
    for first, last in pairwise(ordered):
        pieces = max(1, int(np.ceil((last - first) / fps / settings.max_seconds)))
        cuts = np.linspace(first, last, pieces + 1).round().astype(int).tolist()
        parts += list(pairwise(cuts))
    return parts


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
        """Return whether this frame (H, W, 3) uint8 is the first after a cut."""
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
    """Return the frames at which another face is followed: no head moves by an inter-ocular distance from one frame to the
    next.

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
    jump |= np.abs(np.diff(np.log(np.maximum(quality.face_sides(faces), 1e-3)))) > growth
    jump &= np.diff(seen) == 1
    return seen[1:][jump]
