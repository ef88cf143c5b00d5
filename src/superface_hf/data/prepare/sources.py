"""Sources of raw videos: a folder, or a dataset (of the Hub, parquet files, WebDataset tars) with a video column."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import MediaError, SuperFaceError
from ...media.download import MAX_BYTES, download, is_url
from ..prepared_set import SPLITS

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})
ARCHIVES = ("zip://", "tar://")
DATASET_FORMATS = {".parquet": "parquet", ".tar": "webdataset"}


@dataclass(frozen=True)
class RawVideo:
    """A video to be prepared.

    Attributes:
        key: what the manifest calls it; unique in its source.
        name: of its clips.
        video: a path, an address that ``fsspec`` opens, or the file's bytes.
        split: "train" or "val".
        person: who is seen, or the nearest thing to it that the source tells.
        repo, path, licence: where it comes from, if the table says so.
    """

    key: str
    name: str
    video: str | bytes
    split: str
    person: str
    repo: str = ""
    path: str = ""
    licence: str = ""

    def open(self) -> str | bytes | IO[bytes]:
        """Return the video as a path, bytes or an open file.

        Raises:
            MediaError: a dataset's table names an address that cannot be fetched, or that it has no business to name.
        """
        if isinstance(self.video, bytes) or "://" not in self.video:
            return self.video
        if is_url(self.video):
            return download(self.video, "video", public_only=True)
        # The dataset wrote this address, not the caller: it may name a file on the Hub, in an archive there or not, no more.
        links = self.video.split("::")
        if not links[-1].startswith("hf://") or not all(link.startswith(ARCHIVES) for link in links[:-1]):
            raise MediaError(
                f"The video {self.video} is not fetched: it is neither on the Hub nor at an http(s) address."
            )
        import fsspec

        try:
            with fsspec.open(self.video, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise MediaError(f"The video {self.video} cannot be fetched: {error}") from error
        if len(data) > MAX_BYTES:
            raise MediaError(f"The video {self.video} is larger than {MAX_BYTES // 2**20} MB.")
        return data


def split_of(person: str, val_share: float) -> str:
    """Return the split of a person: all clips of one person go into the same one."""
    number = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64
    return "val" if number < val_share else "train"


def videos_of(
    source: str, table: Path | None, val_share: float, split: str, column: str | None, person_column: str | None
) -> Iterator[RawVideo]:
    """Return the raw videos of a folder, or of a dataset.

    Args:
        source: a folder; a parquet or tar file, or a pattern of such; or a dataset's id on the Hub.
        table: of a folder's videos, see :func:`read_table`.
        val_share: share of the people who go into "val", where no table says so.
        split: of the dataset, to be read; column: its column with videos; person_column: its column that says who is seen.

    Raises:
        SuperFaceError: the source or its table cannot be used.
    """
    if Path(source).is_dir():
        return folder_videos(Path(source), read_table(table) if table else {}, val_share)
    if table:
        raise SuperFaceError(f"A table goes with a folder of videos, and {source} is none.")
    return dataset_videos(source, split, column, person_column, val_share)


def folder_videos(folder: Path, table: Mapping[str, Mapping[str, str]], val_share: float) -> Iterator[RawVideo]:
    """Yield the videos below a folder, in the order of their paths.

    The first folder below ``folder`` is the person (as in VoxCeleb); of files that lie in ``folder`` itself, each is one.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise SuperFaceError(f"There is no video in {folder}: it holds no {', '.join(sorted(VIDEO_SUFFIXES))}.")
    stems = Counter(_name(path.relative_to(folder).with_suffix("")) for path in paths)
    for path in paths:
        below = path.relative_to(folder)
        name = _name(below.with_suffix(""))
        row = table.get(below.as_posix()) or table.get(below.with_suffix("").as_posix()) or {}
        person = _person_of(row) or (below.parts[0] if len(below.parts) > 1 else below.stem)
        yield RawVideo(
            key=below.as_posix(),
            name=name if stems[name] == 1 else f"{name}_{path.suffix[1:]}",
            video=str(path),
            split=row.get("split") or split_of(person, val_share),
            person=person,
            repo=row.get("repo", ""),
            path=row.get("path", ""),
            licence=row.get("licence") or row.get("license") or "",
        )


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Read a CSV table of videos by the column ``clip``: the path below the folder, with or without suffix.

    Other columns, all optional: ``split`` (train or val), ``person`` (without it, ``repo`` and the folder of ``path``),
    ``repo`` and ``path`` (where the file comes from), ``licence``.

    Raises:
        SuperFaceError: it cannot be read, has no column ``clip``, or names another split.
    """
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SuperFaceError(f"The table {path} cannot be read: {error}") from error
    if not rows or not rows[0].get("clip"):
        raise SuperFaceError(f"The table {path} needs a column `clip` with the videos' paths, and rows.")
    for row in rows:
        if row.get("split") and row["split"] not in SPLITS:
            raise SuperFaceError(
                f"The table {path} puts {row['clip']} into {row['split']!r}: splits are {' and '.join(SPLITS)}."
            )
    return {row["clip"]: row for row in rows}


def dataset_videos(
    source: str, split: str, column: str | None, person_column: str | None, val_share: float
) -> Iterator[RawVideo]:
    """Yield the videos of a dataset, streamed; each is a person of its own unless a column says otherwise."""
    rows = _open_dataset(source, split)
    column = column or _video_column(rows.features, source)
    if rows.features is not None:
        for name in filter(None, (column, person_column)):
            if name not in rows.features:
                raise SuperFaceError(f"{source} has no column {name}, but {', '.join(rows.features)}.")
    rows = _undecoded(rows, column)
    for number, row in enumerate(rows):
        key = str(row.get("__key__") or f"{number:08d}")
        video = row[column]
        if isinstance(video, dict):
            video = video.get("bytes") or video.get("path")
        if not isinstance(video, (str, bytes)):
            raise SuperFaceError(f"The column {column} of {source} holds no videos: {key} is {type(video).__name__}.")
        person = str(row[person_column]) if person_column else key
        yield RawVideo(key, _name(Path(key)), video, split_of(person, val_share), person, repo=source, path=key)


def _open_dataset(source: str, split: str) -> Any:
    import datasets

    suffix = Path(source).suffix
    try:
        if suffix in DATASET_FORMATS:
            kind = DATASET_FORMATS[suffix]
            return datasets.load_dataset(kind, data_files={split: source}, split=split, streaming=True)
        return datasets.load_dataset(source, split=split, streaming=True)
    except (OSError, ValueError) as error:
        raise SuperFaceError(
            f"{source} is neither a folder nor a dataset that can be opened with the split {split}: {error}"
        ) from error


def _video_column(features: Any, source: str) -> str:
    """Find the one column of videos by its type or its name."""
    import datasets

    typed = [name for name, feature in (features or {}).items() if isinstance(feature, datasets.Video)]
    named = [name for name in features or {} if name == "video" or f".{name}" in VIDEO_SUFFIXES]
    found = typed or named
    if len(found) != 1:
        raise SuperFaceError(
            f"{source} has {len(found)} columns that look like videos among {', '.join(features or ['none known'])}: "
            "say which with --column."
        )
    return found[0]


def _undecoded(rows: Any, column: str) -> Any:
    """Keep ``datasets`` from decoding the videos, for which it needs torchcodec."""
    import datasets

    if rows.features is not None and isinstance(rows.features[column], datasets.Video):
        return rows.cast_column(column, datasets.Video(decode=False))
    return rows


def _name(path: Path) -> str:
    """Return a clip's name, which may serve as a file's."""
    return "__".join(path.parts)


def _person_of(row: Mapping[str, str]) -> str:
    if row.get("person"):
        return row["person"]
    return f"{row['repo']}/{Path(row['path']).parent}" if row.get("repo") and row.get("path") else ""
