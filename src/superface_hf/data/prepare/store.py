"""The folder of a set while it is made: collects parts, leaves out duplicates, and packs shards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ...errors import SuperFaceError
from ...media import replacing
from ...utils.files import hold
from ...utils.settings import as_dict
from ...version import __version__
from ..prepared_set import CLIP_SCHEMA, MANIFEST, PORTRAIT_SCHEMA, PORTRAITS, SPLITS, shard_path, write_rows
from .duplicates import DuplicateIndex
from .labels import LabelSource
from .portraits import RawPictures
from .quality_filters import Drop
from .report import RawReport
from .settings import PrepareSettings
from .sources import RawVideo

FORMAT = 1  # of the manifest and the shards
PARTS = ".parts"
RawPiece = RawVideo | RawPictures


@dataclass(frozen=True)
class Part:
    """The work done on one raw video: the file of its rows, and the report, which is there when both are complete."""

    rows: Path
    report: Path

    @classmethod
    def of(cls, piece: RawPiece, parts: Path) -> Part:
        stem = hashlib.sha256(piece.key.encode()).hexdigest()[:24]
        return cls(parts / f"{stem}.parquet", parts / f"{stem}.json")

    @property
    def done(self) -> bool:
        return self.report.exists()

    def read_report(self) -> RawReport:
        return RawReport(**json.loads(self.report.read_text()))

    def remove(self) -> None:
        self.report.unlink(missing_ok=True)
        self.rows.unlink(missing_ok=True)


@dataclass
class _Pack:
    """Parts that wait for a shard of their split: each with its report and the numbers of the rows to be kept."""

    parts: list[tuple[Part, RawReport, list[int]]] = field(default_factory=list)
    size: int = 0  # bytes


class SetStore:
    """The set's folder: collects parts, leaves out duplicates, and packs shards.

    Attributes:
        raw: what the manifest knows about each raw file, by key.
    """

    def __init__(self, out: Path, manifest: dict[str, Any], settings: PrepareSettings) -> None:
        self.out, self.settings, self.manifest = out, settings, manifest
        self.raw: dict[str, Any] = manifest["raw"]
        self.parts = out / PARTS
        self.parts.mkdir(exist_ok=True)
        self._packs = {split: _Pack() for split in (*SPLITS, PORTRAITS)}
        self._known = DuplicateIndex()
        self._names: set[str] = set()
        for name in manifest["shards"]:
            if not name.startswith(PORTRAITS):
                for row in pq.read_table(out / name, columns=["name", "hashes", "movement"]).to_pylist():
                    self._remember(row)

    @classmethod
    def open(cls, out: Path, settings: PrepareSettings, labels: LabelSource, source: str) -> SetStore:
        hold(out, "superface prepare")
        made: dict[str, Any] = {"format": FORMAT, "labels": labels.kind, "settings": as_dict(settings)}
        fresh: dict[str, Any] = {
            "version": __version__,
            "source": source,
            **made,
            "counts": {},
            "shards": {},
            "raw": {},
        }
        path = out / MANIFEST
        if not path.exists() and any(out.glob("*.parquet")):
            raise SuperFaceError(f"{out} holds parquet files but no {MANIFEST}: take an empty folder, or a set's own.")
        manifest = _read_manifest(path) if path.exists() else fresh
        for key, value in made.items():
            if manifest[key] != value:
                raise SuperFaceError(
                    f"{out} was prepared with other {key} ({_changed(manifest[key], value)}): take another folder, or the "
                    "same settings."
                )
        store = cls(out, manifest, settings)
        # Shards that the manifest does not name were being written when a run was stopped; their parts are still there.
        for split in (*SPLITS, PORTRAITS):
            for shard in out.glob(f"{split}-*.parquet"):
                if shard.name not in manifest["shards"]:
                    shard.unlink()
        write_json(path, manifest)
        return store

    def add(self, part: Part) -> None:
        """Take over a finished part, and pack a shard if there is enough for one."""
        report = part.read_report()
        if report.kind == "pictures":
            with pq.ParquetFile(part.rows) as file:
                kept = list(range(file.metadata.num_rows))
        else:
            kept = self._without_duplicates(part, report)
        pack = self._packs[report.split]
        pack.parts.append((part, report, kept))
        pack.size += part.rows.stat().st_size if kept else 0
        if self._full(pack):
            self._flush(report.split)

    def close(self) -> dict[str, Any]:
        """Pack what is left, and return the manifest."""
        for split in self._packs:
            self._flush(split)
        shutil.rmtree(self.parts, ignore_errors=True)
        return self.manifest

    def _full(self, pack: _Pack) -> bool:
        return pack.size >= self.settings.shard_megabytes * 2**20

    def _without_duplicates(self, part: Part, report: RawReport) -> list[int]:
        """Choose the rows to keep, by number, and note the others in the report."""
        kept: list[int] = []
        columns = ["name", "fps", "frames", "origin", "hashes", "movement"]
        limit = self.settings.filters.max_duplicate
        for number, row in enumerate(pq.read_table(part.rows, columns=columns).to_pylist()):
            agreement, twin = self._known.find(*_looks(row))
            if agreement <= limit and row["name"] not in self._names:
                self._remember(row)
                kept.append(number)
                continue
            reason, of = ("duplicate", twin) if agreement > limit else ("name taken", row["name"])
            report.clips.remove(row["name"])
            report.drop(row["origin"]["start"], row["frames"] / row["fps"], Drop(reason, agreement, limit), of=of)
        return kept

    def _remember(self, row: dict[str, Any]) -> None:
        self._known.add(row["name"], *_looks(row))
        self._names.add(row["name"])

    def _flush(self, split: str) -> None:
        """Write the waiting parts as a shard, then the manifest that names it, and then delete the parts."""
        pack, self._packs[split] = self._packs[split], _Pack()
        if not pack.parts:
            return
        if any(kept for _, _, kept in pack.parts):
            number = sum(name.startswith(f"{split}-") for name in self.manifest["shards"])
            path = shard_path(self.out, split, number)
            schema = PORTRAIT_SCHEMA if split == PORTRAITS else CLIP_SCHEMA
            self.manifest["shards"][path.name] = write_rows(path, schema, _rows(pack))
        for _, report, _ in pack.parts:
            entry = {name: value for name, value in asdict(report).items() if name != "key" and value not in ([], None)}
            self.raw[report.key] = entry
        self.manifest["counts"] = count(self.manifest)
        write_json(self.out / MANIFEST, self.manifest)
        for part, _, _ in pack.parts:
            part.remove()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a set.

    Raises:
        SuperFaceError: it is none.
    """
    try:
        manifest = json.loads(path.read_text())
        if all(key in manifest for key in ("format", "labels", "settings", "shards", "raw")):
            return manifest
    except (ValueError, TypeError, OSError):
        pass
    raise SuperFaceError(f"{path} is damaged: put it back from a copy, or take an empty folder.")


def count(manifest: dict[str, Any]) -> dict[str, Any]:
    """Count raw videos, kept clips, and those that each filter dropped."""
    videos = [entry for entry in manifest["raw"].values() if entry["kind"] == "video"]
    dropped = [drop for entry in videos for drop in entry.get("dropped", ())]
    rows = Counter[str]()
    for name, number in manifest["shards"].items():
        rows[name.rsplit("-", 1)[0]] += number
    return {
        "raw_videos": len(videos),
        "raw_seconds": round(sum(entry["seconds"] for entry in videos), 1),
        "unreadable": sum("error" in entry for entry in videos),
        "clips": {split: rows[split] for split in SPLITS},
        "pictures": rows[PORTRAITS],
        "dropped": dict(Counter(drop["filter"] for drop in dropped).most_common()),
        "dropped_seconds": round(sum(drop["seconds"] for drop in dropped), 1),
    }


def _looks(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes and the movement of a row."""
    return (
        np.frombuffer(row["hashes"], np.uint8).reshape(-1, 8),
        np.frombuffer(row["movement"], np.float16).reshape(-1, 3),
    )


def _rows(pack: _Pack) -> Iterator[dict[str, Any]]:
    for part, _, kept in pack.parts:
        with pq.ParquetFile(part.rows) as file:
            for number in kept:
                yield from file.read_row_group(number).to_pylist()


def _changed(before: Any, now: Any) -> str:
    """Name the settings that differ, with both values."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{before}, now {now}"
    different = [key for key in now if before.get(key) != now[key]]
    return "; ".join(f"{key}: {_changed(before.get(key), now[key])}" for key in different)


def write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
