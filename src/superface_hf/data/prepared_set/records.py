"""The records of a prepared set, and their rows in parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ...media import open_picture
from ..jpeg import decode_jpeg

SPLITS = ("train", "val")
PORTRAITS = "portraits"
MANIFEST = "manifest.json"
POINTS, SCORES = 478, 52

CLIP_SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "split": pa.string(),
        "person": pa.string(),
        "fps": pa.float64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "frames": pa.int32(),  # T
        "landmarks": pa.binary(),  # float32 (T, 478, 3)
        "blendshapes": pa.binary(),  # float32 (T, 52), or null
        "found": pa.binary(),  # bool (T,)
        "jpeg_index": pa.list_(pa.int32()),
        "jpegs": pa.list_(pa.binary()),
        "origin": pa.struct(
            {
                "raw": pa.string(),
                "start": pa.float64(),
                "square": pa.list_(pa.float64()),
                "sound": pa.bool_(),
                "repo": pa.string(),
                "path": pa.string(),
                "licence": pa.string(),
            }
        ),
        "quality": pa.string(),  # JSON: what the filters measured
        "hashes": pa.binary(),  # uint8 (K, 8): perceptual hashes of K frames
        "movement": pa.binary(),  # float16 (T', 3): see data/prepare/duplicates.py
    }
)
PORTRAIT_SCHEMA = pa.schema(
    {
        "collection": pa.string(),
        "number": pa.int32(),
        "height": pa.int32(),
        "width": pa.int32(),
        "faces": pa.int32(),  # F
        "landmarks": pa.binary(),  # float32 (F, 478, 3)
        "blendshapes": pa.binary(),  # float32 (F, 52), or null
        "jpeg": pa.binary(),
    }
)


@dataclass(frozen=True)
class Origin:
    """The raw video and the time that a clip was taken from.

    Attributes:
        raw: the raw video: its path below the folder that was prepared, or its key in the dataset.
        start: seconds into the raw video at which the clip starts.
        square: left, top, side of the cropped square in pixels of the raw video.
        sound: whether the raw video has a sound track.
        repo, path, licence: as far as the source's table knows.
    """

    raw: str = ""
    start: float = 0.0
    square: tuple[float, float, float] | None = None
    sound: bool = False
    repo: str = ""
    path: str = ""
    licence: str = ""


@dataclass(frozen=True)
class PreparedClip:
    """A tracked clip.

    Attributes:
        landmarks: (T, 478, 3) float32, pixels of the clip's own frames; x right, y down, z toward the camera.
        blendshapes: (T, 52) float32 ARKit scores in [0, 1], in the landmarker's order (see ``face_model.arkit``); None if
            the tracker gave none.
        found: (T,) bool, whether a face was seen; landmarks and scores of the other frames are zero.
        jpeg_index: (J,) the frames kept as pictures.
        jpegs: J encoded pictures; none if they were not asked for.
        size: (height, width) of a frame in pixels.
        person: who is seen, as far as the source tells: clips of one person share it.
        quality: what the quality filters measured, by name; not a number where nothing could be measured.
        hashes: (K, 8) uint8; movement: (T', 3) float16: duplicates are found by both (``data/prepare/duplicates.py``).
    """

    name: str
    split: str
    fps: float
    size: tuple[int, int]
    landmarks: np.ndarray
    blendshapes: np.ndarray | None
    found: np.ndarray
    jpeg_index: np.ndarray
    jpegs: list[bytes]
    person: str = ""
    origin: Origin = field(default_factory=Origin)
    quality: dict[str, float] = field(default_factory=dict)
    hashes: np.ndarray = field(default_factory=lambda: np.zeros((0, 8), np.uint8))
    movement: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float16))

    def picture(self, position: int) -> np.ndarray:
        """Return the ``position``-th kept picture, (H, W, 3) uint8."""
        return decode_jpeg(self.jpegs[position])

    @property
    def seconds(self) -> float:
        return len(self.found) / self.fps

    def to_row(self) -> dict[str, Any]:
        """Make a row of ``CLIP_SCHEMA``."""
        scores = self.blendshapes
        return {
            "name": self.name,
            "split": self.split,
            "person": self.person,
            "fps": self.fps,
            "height": self.size[0],
            "width": self.size[1],
            "frames": len(self.found),
            "landmarks": packed(self.landmarks, np.float32),
            "blendshapes": None if scores is None else packed(scores, np.float32),
            "found": packed(self.found, np.bool_),
            "jpeg_index": np.asarray(self.jpeg_index).tolist(),
            "jpegs": list(self.jpegs),
            "origin": asdict(self.origin),
            "quality": json.dumps(self.quality),
            "hashes": packed(self.hashes, np.uint8),
            "movement": packed(self.movement, np.float16),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> PreparedClip:
        """Read a row as ``datasets`` or pyarrow give it; without ``jpegs`` the clip has no pictures."""
        scores = row["blendshapes"]
        square = row["origin"]["square"]
        return cls(
            name=row["name"],
            split=row["split"],
            fps=row["fps"],
            size=(row["height"], row["width"]),
            landmarks=unpacked(row["landmarks"], np.float32, POINTS, 3),
            blendshapes=None if scores is None else unpacked(scores, np.float32, SCORES),
            found=unpacked(row["found"], np.bool_),
            jpeg_index=np.array(row["jpeg_index"], np.int64),
            jpegs=row.get("jpegs") or [],
            person=row["person"],
            origin=Origin(**{**row["origin"], "square": None if square is None else tuple(square)}),
            quality=json.loads(row["quality"]),
            hashes=unpacked(row["hashes"], np.uint8, 8),
            movement=unpacked(row["movement"], np.float16, 3),
        )


@dataclass(frozen=True)
class Portraits:
    """A collection of still pictures and the faces in them.

    Attributes:
        jpegs: N encoded pictures, in the order of their source.
        picture_of: (F,) the picture that each face is in.
        landmarks: (F, 478, 3) float32, pixels of that picture.
        blendshapes: (F, 52) float32, or None if the tracker gave none.
    """

    jpegs: list[bytes]
    picture_of: np.ndarray
    landmarks: np.ndarray
    blendshapes: np.ndarray | None


def portrait_rows(collection: str, portraits: Portraits, first: int = 0) -> Iterator[dict[str, Any]]:
    """Make rows of ``PORTRAIT_SCHEMA``, with pictures numbered from ``first``."""
    for number, jpeg in enumerate(portraits.jpegs):
        own = portraits.picture_of == number
        scores = portraits.blendshapes
        with open_picture(jpeg) as picture:
            width, height = picture.size
        yield {
            "collection": collection,
            "number": first + number,
            "height": height,
            "width": width,
            "faces": int(own.sum()),
            "landmarks": packed(portraits.landmarks[own], np.float32),
            "blendshapes": None if scores is None else packed(scores[own], np.float32),
            "jpeg": jpeg,
        }


def packed(array: np.ndarray, kind: Any) -> bytes:
    """Return the bytes of an array, as columns hold them."""
    return np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<")).tobytes()


def unpacked(data: bytes, kind: Any, *shape: int) -> np.ndarray:
    """Return the writable array (N, *shape) that :func:`packed` made into bytes."""
    array = np.frombuffer(data, np.dtype(kind).newbyteorder("<")).astype(kind)
    return array.reshape(-1, *shape)
