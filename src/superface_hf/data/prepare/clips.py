"""Makes tracked, cropped clips of one raw video.

The video is read twice: once to find the shots, follow the main face through each and measure what landmarks can tell, and
once more to cut the pictures of what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from typing import Any, Literal

import numpy as np
from PIL import Image

from ...errors import MediaError
from ...face_model.coordinates import FACE_CENTRE, FACE_SHARE, Square
from ...face_model.linear import FaceModel
from ...media import VideoReader
from ...motion import Motion
from ...utils.settings import number
from ..jpeg import encode_jpeg
from ..prepared_set import POINTS, SCORES, Origin, PreparedClip
from . import quality_filters as quality
from .labels import Label, Labeller
from .quality_filters import CutDetector, Drop, QualityThresholds, judge
from .sound import SoundTrack, sync_expert
from .sources import RawVideo

# A video is such a crop already if its sides differ by this share at most, and its face takes a share of the side within these.
NEARLY_SQUARE, CROPPED_SHARE = 0.02, (0.4, 0.85)
ROOM = 1.15  # a crop is at least so many times as wide as what the face moves over
MOVES = (2, 98)  # percentiles of the frames that tell what the face moves over
# Long clips change little from frame to frame: their pictures are kept more sparsely.
LONG_SECONDS, STRIDE, LONG_STRIDE = 8.0, 3, 6
HASHES_PER_SECOND = 2.0
SHARPNESS_FRAMES = 12
SILENCE = 1e-4  # amplitude below which nothing is heard
MIN_FACES = 3  # frames, below which there is nothing to measure


@dataclass(frozen=True)
class PrepareSettings:
    """How raw videos are cut, cropped and filtered.

    Attributes:
        max_side: largest side of a finished clip, pixels; smaller crops are not enlarged.
        jpeg_quality: of the kept pictures, 1 to 100.
        max_seconds: longer shots are cut into equal clips no longer than this.
        max_gap_seconds: a face unseen for longer ends a clip.
        cut_difference: how much of full brightness a picture changes by at a scene cut, mean over a thumbnail.
        sync: whether to measure with the sync expert how the sound fits the mouth.
        val_share: share of the people that go into val, where no table says who does.
        shard_megabytes: a shard is closed when it has reached this size.
        filters: what is kept.
    """

    max_side: int = number(512, low=64)
    jpeg_quality: int = number(93, low=1, high=100)
    max_seconds: float = number(120.0, low=1.0)
    max_gap_seconds: float = number(1.0, low=0.0)
    cut_difference: float = number(0.12, low=0.01, high=1.0)
    sync: bool = True
    val_share: float = number(0.05, low=0.0, high=1.0)
    shard_megabytes: int = number(128, low=1)
    filters: QualityThresholds = field(default_factory=QualityThresholds)


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


@dataclass
class RawReport:
    """The outcome for one raw video, for the manifest.

    Attributes:
        clips: names of the kept clips.
        dropped: of each dropped part ``start`` and ``seconds``, the ``filter``, its ``value`` and its ``limit``.
        cuts: seconds of the scene cuts.
        error: why the video could not be read.
    """

    key: str
    split: str
    kind: Literal["video", "pictures"] = "video"
    clips: list[str] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    def drop(self, start: float, seconds: float, reason: Drop, **more: Any) -> None:
        self.dropped.append(
            {"start": round(start, 3), "seconds": round(seconds, 3), "filter": reason.filter,
             "value": round(float(reason.value), 5), "limit": reason.limit, **more}
        )  # fmt: skip


def clips_of(raw: RawVideo, labeller: Labeller, settings: PrepareSettings, report: RawReport) -> Iterator[PreparedClip]:
    """The clips of a raw video that pass the filters; the report is filled on the way.

    Raises:
        MediaError: the video cannot be read.
    """
    video = VideoReader(raw.open())
    sound = video.sound_reader()
    track = SoundTrack(sound) if sound and settings.sync else None
    segments, size = _track(video, labeller, settings, report)
    kept = []
    for segment in segments:
        reason = _measured_on_track(segment, size, video.fps, settings)
        if reason is None and track is not None:
            segment.measures |= _measured_on_sound(segment, track, video.fps)
            reason = judge(segment.measures, settings.filters)
        if reason is None:
            kept.append(segment)
        else:
            report.drop(segment.start / video.fps, len(segment.found) / video.fps, reason)
    for segment, pictures, index in _cut_out(video, kept, settings):
        clip = _finished(raw, segment, pictures, index, video.fps, settings, sound is not None)
        reason = judge(clip.quality, settings.filters)
        if reason is None:
            report.clips.append(clip.name)
            yield clip
        else:
            report.drop(clip.origin.start, clip.seconds, reason)


def crop_square(landmarks: np.ndarray, height: int, width: int) -> Square:
    """The square of a raw video that holds a whole track with some room, inside the frame, on whole pixels.

    The face takes about half of it (as of the crops that renderers see), less if it moves about. A video that is such a crop
    already is kept whole.

    Args:
        landmarks: (T, 478, 3) pixels of the frames with a face.
    """
    sides = quality.face_sides(landmarks)
    full, usual = min(height, width), float(np.median(sides))
    square_already = abs(height - width) <= NEARLY_SQUARE * max(height, width)
    if square_already and CROPPED_SHARE[0] <= usual / full <= CROPPED_SHARE[1]:
        return Square(0, 0, full)
    low = np.percentile(landmarks[..., :2].min(1), MOVES[0], axis=0)
    high = np.percentile(landmarks[..., :2].max(1), MOVES[1], axis=0)
    side = min(full, round(max(usual / FACE_SHARE, ROOM * float((high - low).max()))))
    corner = np.clip((low + high) / 2 - np.array(FACE_CENTRE) * side, 0, [width - side, height - side])
    return Square(round(float(corner[0])), round(float(corner[1])), side)


def _track(
    video: VideoReader, labeller: Labeller, settings: PrepareSettings, report: RawReport
) -> tuple[list[Segment], tuple[int, int]]:
    """Reads the video through: its segments in order, and its (height, width)."""
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
    """Follows the main face of a shot; all of its frames are in one of the segments."""
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
    """(T, 52), zero where there is no face; None if the labeller gives none."""
    if all(label is None or label.blendshapes is None for label in labels):
        return None
    nothing = np.zeros(SCORES, np.float32)
    return np.stack([nothing if label is None or label.blendshapes is None else label.blendshapes for label in labels])


def _parts(landmarks: np.ndarray, found: np.ndarray, fps: float, settings: PrepareSettings) -> list[tuple[int, int]]:
    """Chooses where to cut a shot, as (first, last + 1): before other faces, around long gaps, and at the longest length."""
    edges = {0, len(found), *quality.face_jumps(landmarks, found).tolist()}
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


def _measured_on_track(segment: Segment, size: tuple[int, int], fps: float, settings: PrepareSettings) -> Drop | None:
    """Fills in what landmarks can tell, and the crop; the first check that fails."""
    measures = segment.measures
    measures["seconds"] = len(segment.found) / fps
    measures["seen"] = float(segment.found.mean())
    reason = judge(measures, settings.filters)
    faces = segment.landmarks[segment.found]
    if reason is None and len(faces) < MIN_FACES:
        reason = Drop("face seen", measures["seen"], settings.filters.min_seen)
    if reason is not None:
        return reason
    segment.square = crop_square(faces, *size)
    usual = float(np.median(quality.face_sides(faces)))
    measures["face_pixels"] = usual * _scale(segment.square, settings)
    measures["face_share"] = usual / segment.square.side
    measures["other_faces"] = quality.other_faces(segment.others)
    inside = segment.square.to_image(faces)
    segment.motion = FaceModel.default().fit(inside, fps)[1]
    measures["turn"] = quality.furthest_turn(segment.motion.rotation)
    measures["turn_range"] = quality.turn_range(segment.motion.rotation)
    measures["identity_drift"] = quality.identity_drift(inside, fps)
    return judge(measures, settings.filters)


def _measured_on_sound(segment: Segment, track: SoundTrack, fps: float) -> dict[str, float]:
    """Offset and confidence of the sound under a segment; nothing where it is silent, too short or damaged."""
    try:
        samples = track.between(segment.start / fps, segment.stop / fps)
    except MediaError:
        return {}
    if np.abs(samples).max(initial=0) < SILENCE:
        return {}
    assert segment.motion is not None
    seen, frames = np.flatnonzero(segment.found), np.arange(len(segment.found))
    mouth = np.stack([np.interp(frames, seen, column) for column in segment.motion.mouth.T], axis=1)
    return quality.sync(samples, mouth, fps, sync_expert())


def _cut_out(
    video: VideoReader, segments: list[Segment], settings: PrepareSettings
) -> Iterator[tuple[Segment, list[np.ndarray], list[int]]]:
    """Reads the video once more: of each segment the pictures to be kept, cropped, and their frames' numbers in it."""
    if not segments:
        return
    frames = iter(video)
    position = 0
    for segment in segments:
        stride = STRIDE if len(segment.found) / video.fps < LONG_SECONDS else LONG_STRIDE
        pictures, index = [], []
        for number_, frame in enumerate(islice(frames, segment.start - position, segment.stop - position)):
            if number_ % stride == 0 and segment.found[number_]:
                assert segment.square is not None
                pictures.append(_cropped(frame, segment.square, settings))
                index.append(number_)
        position = segment.stop
        yield segment, pictures, index


def _cropped(frame: np.ndarray, square: Square, settings: PrepareSettings) -> np.ndarray:
    left, top, side = int(square.left), int(square.top), int(square.side)
    part = frame[top : top + side, left : left + side]
    out = min(side, settings.max_side)
    if out == side:
        return np.ascontiguousarray(part)
    return np.asarray(Image.fromarray(part).resize((out, out), Image.Resampling.LANCZOS, reducing_gap=3.0))


def _scale(square: Square, settings: PrepareSettings) -> float:
    return min(square.side, settings.max_side) / square.side


def _finished(
    raw: RawVideo, segment: Segment, pictures: list[np.ndarray], index: list[int], fps: float,
    settings: PrepareSettings, sound: bool,
) -> PreparedClip:  # fmt: skip
    square = segment.square
    assert square is not None
    assert segment.motion is not None
    scale = _scale(square, settings)
    landmarks = (segment.landmarks - np.array([square.left, square.top, 0.0])) * scale
    landmarks = np.where(segment.found[:, None, None], landmarks, 0.0).astype(np.float32)
    chosen = np.linspace(0, len(pictures) - 1, SHARPNESS_FRAMES if pictures else 0).astype(int)
    sharp = [quality.sharpness(pictures[k], landmarks[index[k]]) for k in np.unique(chosen)]
    stride = STRIDE if len(segment.found) / fps < LONG_SECONDS else LONG_STRIDE
    every = max(1, round(fps / HASHES_PER_SECOND / stride))
    hashes = [quality.perceptual_hash(picture) for picture in pictures[::every]]
    out = round(square.side * scale)
    return PreparedClip(
        name=raw.name if segment.number is None else f"{raw.name}-{segment.number:03d}",
        split=raw.split,
        fps=fps,
        size=(out, out),
        landmarks=landmarks,
        blendshapes=segment.blendshapes,
        found=segment.found,
        jpeg_index=np.array(index, np.int64),
        jpegs=[encode_jpeg(picture, settings.jpeg_quality) for picture in pictures],
        person=raw.person,
        origin=Origin(
            raw.key, segment.start / fps, (square.left, square.top, square.side), sound, raw.repo, raw.path, raw.licence
        ),
        quality={**segment.measures, "sharpness": float(np.median(sharp)) if sharp else 0.0},
        hashes=np.stack(hashes) if hashes else np.zeros((0, 8), np.uint8),
        movement=quality.movement(segment.motion, segment.found),
    )
