"""A prepared set on disk: tracked clips and portraits as parquet shards that ``datasets`` opens, and how they are read.

::

    OUT/train-00000.parquet ...      one row a clip, one row group a row
    OUT/val-00000.parquet ...        clips of people who are in no clip of train
    OUT/portraits-00000.parquet ...  one row a picture
    OUT/manifest.json                what was run, and what became of every raw file

Arrays are little-endian bytes in C order, with the type and shape given at the schemas. ``superface prepare`` writes sets;
:func:`write_clips` and :func:`write_portraits` do for who tracks faces otherwise.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..errors import SuperFaceError
from ..media import open_picture, replacing

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
        "movement": pa.binary(),  # float16 (T', 3): see quality_filters.movement
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
        hashes: (K, 8) uint8; movement: (T', 3) float16: duplicates are found by both, see ``quality_filters``.
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
        """The ``position``-th kept picture, (H, W, 3) uint8."""
        return decode_jpeg(self.jpegs[position])

    @property
    def seconds(self) -> float:
        return len(self.found) / self.fps

    def to_row(self) -> dict[str, Any]:
        """Makes a row of ``CLIP_SCHEMA``."""
        scores = self.blendshapes
        return {
            "name": self.name,
            "split": self.split,
            "person": self.person,
            "fps": self.fps,
            "height": self.size[0],
            "width": self.size[1],
            "frames": len(self.found),
            "landmarks": _packed(self.landmarks, np.float32),
            "blendshapes": None if scores is None else _packed(scores, np.float32),
            "found": _packed(self.found, np.bool_),
            "jpeg_index": np.asarray(self.jpeg_index).tolist(),
            "jpegs": list(self.jpegs),
            "origin": asdict(self.origin),
            "quality": json.dumps(self.quality),
            "hashes": _packed(self.hashes, np.uint8),
            "movement": _packed(self.movement, np.float16),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> PreparedClip:
        """Reads a row as ``datasets`` or pyarrow give it; without ``jpegs`` the clip has no pictures."""
        scores = row["blendshapes"]
        square = row["origin"]["square"]
        return cls(
            name=row["name"],
            split=row["split"],
            fps=row["fps"],
            size=(row["height"], row["width"]),
            landmarks=_unpacked(row["landmarks"], np.float32, POINTS, 3),
            blendshapes=None if scores is None else _unpacked(scores, np.float32, SCORES),
            found=_unpacked(row["found"], np.bool_),
            jpeg_index=np.array(row["jpeg_index"], np.int64),
            jpegs=row.get("jpegs") or [],
            person=row["person"],
            origin=Origin(**{**row["origin"], "square": None if square is None else tuple(square)}),
            quality=json.loads(row["quality"]),
            hashes=_unpacked(row["hashes"], np.uint8, 8),
            movement=_unpacked(row["movement"], np.float16, 3),
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


def load_clips(prepared: Path, split: str, pictures: bool = True) -> Iterator[PreparedClip]:
    """The prepared clips of one split, in name order; without ``pictures`` much faster and smaller.

    Raises:
        SuperFaceError: the folder holds no prepared set.
    """
    columns = [name for name in CLIP_SCHEMA.names if pictures or name != "jpegs"]
    places = []
    for path in shards(prepared, split):
        names = pq.read_table(path, columns=["name"])["name"].to_pylist()
        places += [(name, path, number) for number, name in enumerate(names)]
    for _, path, number in sorted(places):
        with pq.ParquetFile(path) as file:
            (row,) = file.read_row_group(number, columns=columns).to_pylist()
        yield PreparedClip.from_row(row)


def load_portraits(prepared: Path, collection: str | None = None) -> Portraits:
    """The portraits of one collection (the name of its source, such as ``portraits_large``), or of all.

    Raises:
        SuperFaceError: the folder holds no prepared set, or no such collection.
    """
    wanted = None if collection is None else [("collection", "=", collection)]
    tables = [pq.read_table(path, filters=wanted) for path in shards(prepared, PORTRAITS)]
    rows = [row for table in tables for row in table.to_pylist()]
    if not rows:
        which = "portraits" if collection is None else f"portraits called {collection}"
        raise SuperFaceError(f"{prepared} holds no {which}: add them with `superface prepare --portraits`.")
    rows.sort(key=lambda row: (row["collection"], row["number"]))
    scores = [row["blendshapes"] for row in rows if row["faces"]]
    return Portraits(
        jpegs=[row["jpeg"] for row in rows],
        picture_of=np.repeat(np.arange(len(rows)), [row["faces"] for row in rows]),
        landmarks=_unpacked(b"".join(row["landmarks"] for row in rows), np.float32, POINTS, 3),
        blendshapes=None if None in scores else _unpacked(b"".join(scores), np.float32, SCORES),
    )


def known_scores(blendshapes: np.ndarray | None) -> np.ndarray:
    """Blendshapes for who cannot do without.

    Raises:
        SuperFaceError: the set has none.
    """
    if blendshapes is None:
        raise SuperFaceError(
            "This set has no blendshapes: prepare it with `superface prepare --labels mediapipe --landmarker FILE`."
        )
    return blendshapes


class ClipStream:
    """Streams a set's clips without end, shuffled, a few in memory; a stopped stream continues exactly.

    The order of the shards is drawn anew for each pass through the set, and clips within blocks of ``buffer`` clips that
    follow each other. Several readers (workers, processes) each take another ``seed``: they need not share out the clips.

    Args:
        source: a folder, or a dataset's id on the Hub.
        buffer: clips shuffled at once, which are held in memory (about 5 MB each).

    Raises:
        SuperFaceError: the set has no clips of this split, or cannot be opened.
    """

    def __init__(self, source: str | Path, split: str = "train", seed: int = 0, buffer: int = 16) -> None:
        if buffer < 1 or seed < 0:
            raise SuperFaceError(f"A clip stream needs buffer >= 1 and seed >= 0, not {buffer} and {seed}.")
        self.source, self.split, self.seed, self.buffer = str(source), split, seed, buffer
        self._data = _streamed(source, split)
        self._place = _Place()

    def __iter__(self) -> Iterator[PreparedClip]:
        """Yields clips from where the last iteration, or the loaded state, ended."""
        while True:
            rows = self._rows(self._place)
            while block := list(islice(rows, self.buffer)):
                place, (after, _) = self._place, block[-1]
                order = np.random.default_rng((self.seed, place.epoch, place.shard, place.row)).permutation(len(block))
                for taken in range(place.taken, len(block)):
                    self._place = _Place(place.epoch, place.shard, place.row, taken + 1)
                    yield PreparedClip.from_row(block[order[taken]][1])
                self._place = after
            if self._place == _Place(self._place.epoch):
                raise SuperFaceError(f"The set {self.source} has no clips of the split {self.split}.")
            self._place = _Place(self._place.epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """The stream's position, as JSON can hold it."""
        return {**asdict(self._place), "shards": self._data.num_shards, "seed": self.seed, "buffer": self.buffer}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next clip is the one that would have come after :meth:`state_dict`.

        Raises:
            SuperFaceError: the state is of a stream over other shards, or with another seed or buffer.
        """
        own = self.state_dict()
        for key in ("shards", "seed", "buffer"):
            if state[key] != own[key]:
                raise SuperFaceError(
                    f"This state of a clip stream cannot be gone on from: {key} was {state[key]}, but is {own[key]}."
                )
        self._place = _Place(state["epoch"], state["shard"], state["row"], state["taken"])

    def _rows(self, place: _Place) -> Iterator[tuple[_Place, dict[str, Any]]]:
        """Rows of this pass from ``place`` on, each with the place after it."""
        count = self._data.num_shards
        order = np.random.default_rng((self.seed, place.epoch)).permutation(count)
        for position in range(place.shard, count):
            skipped = place.row if position == place.shard else 0
            shard = self._data.shard(count, int(order[position]))
            # Plain iteration would share out the files among a loader's workers, each of which reads all of them here.
            rows = (shard.skip(skipped) if skipped else shard).iter(batch_size=1)
            for number, row in enumerate(rows, skipped):
                yield _Place(place.epoch, position, number + 1), {name: values[0] for name, values in row.items()}


@dataclass(frozen=True)
class _Place:
    """A block starts at row ``row`` of the ``shard``-th shard of the pass ``epoch``; ``taken`` clips of it are out."""

    epoch: int = 0
    shard: int = 0
    row: int = 0
    taken: int = 0


def shards(prepared: Path, split: str) -> list[Path]:
    """The parquet files of a split, or of the portraits.

    Raises:
        SuperFaceError: the folder holds no prepared set.
    """
    prepared = Path(prepared)
    if not any(prepared.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet")):
        raise SuperFaceError(f"{prepared} holds no prepared set: make one with `superface prepare`.")
    return sorted(prepared.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].parquet"))


def shard_path(prepared: Path, split: str, number: int) -> Path:
    return Path(prepared) / f"{split}-{number:05d}.parquet"


def write_clips(prepared: Path, split: str, clips: Iterable[PreparedClip], number: int = 0) -> Path:
    """Writes one shard of clips; it appears complete or not at all."""
    path = shard_path(prepared, split, number)
    write_rows(path, CLIP_SCHEMA, (clip.to_row() for clip in clips))
    return path


def write_portraits(prepared: Path, collection: str, portraits: Portraits, number: int = 0) -> Path:
    """Writes one shard of portraits."""
    path = shard_path(prepared, PORTRAITS, number)
    write_rows(path, PORTRAIT_SCHEMA, portrait_rows(collection, portraits))
    return path


def portrait_rows(collection: str, portraits: Portraits, first: int = 0) -> Iterator[dict[str, Any]]:
    """Makes rows of ``PORTRAIT_SCHEMA``, with pictures numbered from ``first``."""
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
            "landmarks": _packed(portraits.landmarks[own], np.float32),
            "blendshapes": None if scores is None else _packed(scores[own], np.float32),
            "jpeg": jpeg,
        }


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Writes a parquet file whose row groups are single rows, so that a reader holds one at a time; returns how many."""
    count = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema))
            count += 1
    return count


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """An (H, W, 3) uint8 picture as a JPEG with full colour resolution."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """(H, W, 3) uint8."""
    with open_picture(jpeg) as picture:
        return np.asarray(picture.convert("RGB"))


def _streamed(source: str | Path, split: str) -> Any:
    """The rows of a split as a ``datasets.IterableDataset``."""
    import datasets

    try:
        if Path(source).is_dir():
            files = [str(path) for path in shards(Path(source), split)]
            if not files:
                raise SuperFaceError(f"The set {source} has no clips of the split {split}.")
            return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        files = f"{split}-*.parquet"  # type: ignore[assignment]
        return datasets.load_dataset(str(source), data_files={split: files}, split=split, streaming=True)
    except (OSError, ValueError) as error:
        raise SuperFaceError(f"The prepared set {source} cannot be opened: {error}") from error


def _packed(array: np.ndarray, kind: Any) -> bytes:
    return np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<")).tobytes()


def _unpacked(data: bytes, kind: Any, *shape: int) -> np.ndarray:
    """(N, *shape), writable."""
    array = np.frombuffer(data, np.dtype(kind).newbyteorder("<")).astype(kind)
    return array.reshape(-1, *shape)
