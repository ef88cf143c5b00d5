"""Make tracked, cropped clips of one raw video.

The video is read twice: once to find the shots, follow the main face through each and measure what landmarks can tell, and
once more to cut the pictures of what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image

from ...errors import MediaError
from ...face_model.coordinates import FACE_CENTRE, FACE_SHARE, Square
from ...face_model.linear import FaceModel
from ...media import VideoReader
from ..jpeg import encode_jpeg
from ..prepared_set import Origin, PreparedClip
from . import quality_filters as quality
from .duplicates import movement, perceptual_hash
from .labels import Labeller
from .quality_filters import Drop, judge
from .report import RawReport
from .settings import PrepareSettings
from .shots import Segment, find_segments
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


def clips_of(raw: RawVideo, labeller: Labeller, settings: PrepareSettings, report: RawReport) -> Iterator[PreparedClip]:
    """Yield the clips of a raw video that pass the filters, and fill in the report meanwhile.

    Raises:
        MediaError: the video cannot be read.
    """
    video = VideoReader(raw.open())
    sound = video.sound_reader()
    track = SoundTrack(sound) if sound and settings.sync else None
    segments, size = find_segments(video, labeller, settings, report)
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
    """Return the square of a raw video that holds a whole track with some room, inside the frame, on whole pixels.

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


def _measured_on_track(segment: Segment, size: tuple[int, int], fps: float, settings: PrepareSettings) -> Drop | None:
    """Measure what landmarks can tell, choose the crop, and return the first check that fails."""
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
    """Return the offset and confidence of the sound under a segment; nothing where it is silent, too short or damaged."""
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
    """Read the video once more: of each segment the pictures to be kept, cropped, and their frames' numbers in it."""
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
    hashes = [perceptual_hash(picture) for picture in pictures[::every]]
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
        movement=movement(segment.motion, segment.found),
    )
