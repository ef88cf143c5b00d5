"""Still portraits: every picture of a table or folder, with the faces that the labeller finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from ...errors import MediaError, SuperFaceError
from ...media import open_picture
from ..jpeg import encode_jpeg
from ..prepared_set import PORTRAITS, Portraits
from .labels import Label, Labeller

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
MAX_SIDE = 1024  # pixels
CHUNK = 128  # pictures that one piece of work holds


@dataclass(frozen=True)
class RawPictures:
    """Some pictures of a collection: those with the numbers ``first`` to ``stop`` (not included).

    Attributes:
        source: a parquet file with a column ``image``, or a folder.
    """

    source: Path
    first: int
    stop: int
    split: str = PORTRAITS

    @property
    def collection(self) -> str:
        return self.source.stem

    @property
    def key(self) -> str:
        return f"{self.collection}[{self.first}:{self.stop}]"


def picture_chunks(source: Path) -> Iterator[RawPictures]:
    """Yield all pictures of a parquet file or folder, as pieces of work.

    Raises:
        SuperFaceError: it holds no pictures.
    """
    if source.is_dir():
        count = len(_paths(source))
    else:
        try:
            with pq.ParquetFile(source) as file:
                count = file.metadata.num_rows if "image" in file.schema_arrow.names else 0
        except (OSError, ValueError) as error:
            raise SuperFaceError(f"The portraits {source} cannot be read: {error}") from error
    if not count:
        raise SuperFaceError(f"There are no portraits in {source}: it needs pictures, or a column `image` with rows.")
    for first in range(0, count, CHUNK):
        yield RawPictures(source, first, min(first + CHUNK, count))


def portraits_of(raw: RawPictures, labeller: Labeller, jpeg_quality: int) -> Portraits:
    """Return the pictures of at most 1024 pixels and their faces; a picture that cannot be read is grey, so that numbers
    stay."""
    jpegs: list[bytes] = []
    picture_of: list[int] = []
    labels: list[Label] = []
    for number, data in enumerate(_encoded(raw)):
        image = _readable(data)
        jpegs.append(encode_jpeg(image, jpeg_quality))
        for label in labeller.find(image):
            picture_of.append(number)
            labels.append(label)
    scores = [label.blendshapes for label in labels if label.blendshapes is not None]
    return Portraits(
        jpegs=jpegs,
        picture_of=np.array(picture_of, np.int64),
        landmarks=np.stack([label.face.landmarks for label in labels]) if labels else np.zeros((0, 478, 3), np.float32),
        blendshapes=np.stack(scores) if scores else None,
    )


def _encoded(raw: RawPictures) -> Iterator[bytes]:
    if raw.source.is_dir():
        yield from (path.read_bytes() for path in _paths(raw.source)[raw.first : raw.stop])
        return
    table = pq.read_table(raw.source, columns=["image"]).slice(raw.first, raw.stop - raw.first)
    for image in table["image"].to_pylist():
        yield image["bytes"] if isinstance(image, dict) else image


def _readable(data: bytes) -> np.ndarray:
    try:
        with open_picture(data) as file:
            picture = file.convert("RGB")
    except MediaError:
        return np.full((64, 64, 3), 127, np.uint8)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
