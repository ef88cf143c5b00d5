"""The data of evaluations: frames of validation clips with their meshes, and portraits with one face each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..animation.portrait import Portrait, find_portrait
from ..errors import MediaError, NoFaceError, SeveralFacesError
from ..face_model.coordinates import Square
from ..face_model.emphasis import ShownFaceModel
from ..face_model.linear import FaceModel, FaceShape
from ..layers.portrait import cut_out
from ..media import VideoReader, load_picture
from ..models.tracker.base import FaceTracker
from ..motion import Motion
from ..motion.rotations import rotation_matrix

CLIPS = "clips/val_*.mp4"
PORTRAITS = "portraits_large.parquet"
SMALLEST_FACE = 180  # pixels; a smaller face has too little detail to compare renderers
PORTRAIT_SEED = 0
TURN_TOLERANCE = 3.0  # degrees


@dataclass(frozen=True, eq=False)
class Reenactment:
    """A picture, a motion, and the true pictures of it.

    Attributes:
        name: of the clip.
        source: (1, 3, side, side) in [0, 1].
        source_landmarks: (1, 478, 3) in image coordinates.
        targets: (T, side, side, 3) uint8.
        target_landmarks: (T, 478, 3) in pixels, as tracked in the targets.
        driving: (T, 478, 3) in image coordinates: the source's face, moved by the clip's ``Motion`` as it is shown.
        shape, motion: its neutral face, and the motion of source and targets (T + 1 frames).
    """

    name: str
    source: Tensor
    source_landmarks: Tensor
    targets: np.ndarray
    target_landmarks: np.ndarray
    driving: Tensor
    shape: FaceShape
    motion: Motion

    @property
    def side(self) -> int:
        return self.targets.shape[1]


@dataclass(frozen=True, eq=False)
class TrackedClip:
    """The data kept of a clip.

    Attributes:
        spread: targets spread evenly over the clip, its first frame being the source.
        window: consecutive targets from the clip's middle with the same source, for what only shows over time.
    """

    spread: Reenactment
    window: Reenactment


@dataclass(frozen=True, eq=False)
class NamedPortrait:
    """A portrait and its crop at the renderer's size, (1, 3, S, S) in [0, 1]."""

    name: str
    portrait: Portrait
    image: Tensor

    @property
    def landmarks(self) -> Tensor:
        """(1, 478, 3) in image coordinates."""
        return torch.from_numpy(self.portrait.landmarks)[None]


def validation_clips(data: Path, count: int | None) -> list[Path]:
    """Return the first ``count`` validation clips of a data folder, or all of them.

    Raises:
        MediaError: there are none.
    """
    clips = sorted(data.glob(CLIPS))
    if not clips:
        raise MediaError(
            f"There are no validation clips {CLIPS} in {data}: say where they are with --data FOLDER or SUPERFACE_DATA."
        )
    return clips[:count]


def track_clip(path: Path, frames: int, window: int, tracker: FaceTracker) -> TrackedClip:
    """Read and track the frames of a clip that are evaluated.

    Args:
        frames: targets, evenly spread.
        window: consecutive targets.

    Raises:
        MediaError: the clip cannot be read or is too short.
        NoFaceError: fewer than two of the evenly spread frames, or too few of the window's, show a face.
    """
    length = _length(path, max(4, window + 1))
    spread = np.unique(np.linspace(0, length - 1, frames + 1).round().astype(int))
    start = max(1, (length - window) // 2)
    consecutive = np.arange(start, start + window)
    seen = _SeenFrames.of(path, np.union1d(spread, consecutive), tracker)
    first = [index for index in spread.tolist() if index in seen.landmarks]
    if len(first) < 2:
        raise NoFaceError(f"Of {len(spread)} frames of {path}, {len(first)} show a face: leave the clip out.")
    together = [first[0], *(index for index in consecutive.tolist() if index in seen.landmarks)]
    if len(together) < 2:
        raise NoFaceError(f"None of the {window} frames in the middle of {path} shows a face: leave the clip out.")
    return TrackedClip(seen.reenactment(first), seen.reenactment(together))


def turned_pairs(path: Path, degrees: Sequence[int], frames: int, tracker: FaceTracker) -> dict[int, Reenactment]:
    """Return two frames of a clip for each wanted turn of the head that it contains; the more frontal frame is the source.

    Args:
        degrees: wanted angles between the directions in which the heads look.
        frames: so many of the clip, evenly spread, are looked at.

    Raises:
        MediaError, NoFaceError: as :func:`track_clip`.
    """
    places = np.unique(np.linspace(0, _length(path, 2) - 1, frames).round().astype(int))
    seen = _SeenFrames.of(path, places, tracker)
    if len(seen.landmarks) < 2:
        raise NoFaceError(f"Of {len(places)} frames of {path}, {len(seen.landmarks)} show a face: leave the clip out.")
    indices = list(seen.landmarks)
    _, motion = FaceModel.default().fit(Square(0, 0, seen.side).to_image(np.stack(list(seen.landmarks.values()))), 1.0)
    pairs = {wanted: turned_pair(motion, wanted) for wanted in degrees}
    return {
        wanted: seen.reenactment([indices[place] for place in pair])
        for wanted, pair in pairs.items()
        if pair is not None
    }


def turned_pair(motion: Motion, degrees: float) -> tuple[int, int] | None:
    """Return the two frames whose viewing directions are nearest to ``degrees`` apart, the more frontal one first, or
    None where none are within ``TURN_TOLERANCE``. Roll does not count, because it does not change the viewing
    direction."""
    looks = rotation_matrix(motion.rotation)[:, :, 2]
    angles = np.degrees(np.arccos(np.clip(looks @ looks.T, -1, 1)))
    away = np.abs(angles - degrees)
    one, other = (int(place) for place in np.unravel_index(away.argmin(), away.shape))
    if away[one, other] > TURN_TOLERANCE:
        return None
    return (one, other) if looks[one, 2] >= looks[other, 2] else (other, one)


def _length(path: Path, least: int) -> int:
    length = sum(1 for _ in VideoReader(path))
    if length < least:
        raise MediaError(f"{path} has {length} frames: at least {least} are needed.")
    return length


@dataclass(frozen=True, eq=False)
class _SeenFrames:
    """Square pictures of some frames of a clip, and the landmarks of those that show a face, both by the frame's number."""

    name: str
    fps: float
    pictures: dict[int, np.ndarray]
    landmarks: dict[int, np.ndarray]

    @classmethod
    def of(cls, path: Path, wanted: np.ndarray, tracker: FaceTracker) -> _SeenFrames:
        reader, kept = VideoReader(path), set(wanted.tolist())
        pictures = {index: _square(frame) for index, frame in enumerate(reader) if index in kept}
        faces = dict(zip(pictures, tracker.follow(pictures.values()), strict=True))
        landmarks = {index: face.landmarks for index, face in faces.items() if face is not None}
        return cls(path.stem, reader.fps, pictures, landmarks)

    @property
    def side(self) -> int:
        return len(next(iter(self.pictures.values())))

    def reenactment(self, chosen: Sequence[int]) -> Reenactment:
        """Return source and targets; the first of ``chosen`` is the source."""
        pixels = np.stack([self.landmarks[index] for index in chosen])
        square = Square(0, 0, self.side)
        landmarks = torch.from_numpy(square.to_image(pixels))
        model = FaceModel.default()
        _, motion = model.fit(landmarks, self.fps)
        shape, shown = model.neutral_shape(landmarks[0], motion[0]), ShownFaceModel(model)
        return Reenactment(
            self.name,
            cut_out(self.pictures[chosen[0]], square, self.side),
            landmarks[:1],
            np.stack([self.pictures[index] for index in chosen[1:]]),
            pixels[1:],
            shown.animate(shown.neutral_shape(landmarks[0], motion[0]), motion)[1:],
            shape,
            motion,
        )


def _square(frame: np.ndarray) -> np.ndarray:
    side = min(frame.shape[:2])
    return np.ascontiguousarray(frame[:side, :side])


def find_portraits(data: Path, count: int, tracker: FaceTracker, size: int) -> list[NamedPortrait]:
    """Return ``count`` portraits with exactly one complete face of at least ``SMALLEST_FACE`` pixels, always the same ones.

    They are drawn from those that are marked for validation, in a fixed order; where these are too few, from the others.

    Raises:
        MediaError: the file is missing or holds no such portrait.
    """
    found: list[NamedPortrait] = []
    for name, picture in _portraits(data / PORTRAITS):
        if len(found) == count:
            break
        try:
            portrait = find_portrait(picture, tracker, FaceModel.default(), "only", size)
        except (NoFaceError, SeveralFacesError):
            continue
        if _is_large_and_whole(portrait):
            found.append(NamedPortrait(name, portrait, cut_out(portrait.picture, portrait.crop, size)))
    if not found:
        raise MediaError(
            f"{data / PORTRAITS} holds no portrait with exactly one whole face of {SMALLEST_FACE} pixels or more."
        )
    return found


def _is_large_and_whole(portrait: Portrait) -> bool:
    """Return whether the face is large enough, and not cut off by the picture's edge."""
    pixels = portrait.crop.to_pixels(portrait.landmarks)[:, :2]
    low, high = pixels.min(0), pixels.max(0)
    height, width = portrait.picture.shape[:2]
    return bool((high - low).max() >= SMALLEST_FACE and low.min() >= 0 and (high <= (width, height)).all())


def check_portraits(data: Path) -> None:
    """Raise MediaError where the portraits' file is missing."""
    if not (data / PORTRAITS).is_file():
        raise MediaError(
            f"There is no {PORTRAITS} in {data}: say where it is with --data FOLDER or SUPERFACE_DATA, or leave out the "
            "protocols that need portraits (--protocols self degraded)."
        )


def _portraits(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and picture, validation portraits first; one picture is decoded at a time."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path, columns=["name", "split", "image"])
    order = np.random.default_rng(PORTRAIT_SEED).permutation(len(table))
    is_validation = np.array([split == "val" for split in table["split"].to_pylist()])
    for row in [*order[is_validation[order]], *order[~is_validation[order]]]:
        content = table["image"][int(row)].as_py()["bytes"]
        yield table["name"][int(row)].as_py(), load_picture(content)
