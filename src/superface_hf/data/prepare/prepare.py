"""Turns raw videos and portraits into a prepared set (see ``prepared_set``); behind ``superface prepare``.

Every raw video is one piece of work, whose clips go into a file of their own in ``OUT/.parts``. When there are enough, they
are packed into a shard and the manifest names them; only then the parts go. So a run that was stopped anywhere goes on
with the raw videos that neither the manifest nor a part knows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from ...errors import SuperFaceError
from ...media import replacing
from ...utils.files import hold
from ...utils.settings import as_dict
from ...version import __version__
from ..prepared_set import (
    CLIP_SCHEMA,
    MANIFEST,
    PORTRAIT_SCHEMA,
    PORTRAITS,
    SPLITS,
    PreparedClip,
    portrait_rows,
    shard_path,
    write_rows,
)
from .clips import PrepareSettings, RawReport, clips_of
from .labels import LabelSource, load_labeller
from .portraits import RawPictures, portraits_of
from .quality_filters import Drop, DuplicateIndex
from .sources import RawVideo

FORMAT = 1  # of the manifest and the shards
PARTS = ".parts"
AHEAD = 3  # pieces of work that wait for each worker

RawPiece = RawVideo | RawPictures


def prepare(
    out: Path,
    pieces: Iterable[RawPiece],
    settings: PrepareSettings,
    labels: LabelSource,
    source: str = "",
    workers: int = 1,
    total: int | None = None,
) -> dict[str, Any]:
    """Prepares what is not prepared yet, and returns the manifest.

    Args:
        out: folder of the set; one that an earlier run with the same settings left is gone on with.
        source: what the manifest calls the source.
        workers: processes; 1 works in this one.
        total: how many pieces there are, if that is known.

    Raises:
        SuperFaceError: the folder holds a set made with other settings, or cannot be written.
    """
    store = SetStore.open(out, settings, labels, source)
    with tqdm(desc="preparing", total=total, initial=len(store.raw), unit="file") as bar:
        wanted = (piece for piece in pieces if piece.key not in store.raw)
        for part in _finished_parts(wanted, store.parts, settings, labels, workers):
            store.add(part)
            bar.update()
    return store.close()


def work(piece: RawPiece, parts: Path, settings: PrepareSettings, labels: LabelSource) -> Part:
    """Does one piece of work; its clips and report are on disk afterwards."""
    part = Part.of(piece, parts)
    labeller = load_labeller(labels)
    if isinstance(piece, RawPictures):
        report = RawReport(piece.key, piece.split, kind="pictures")
        portraits = portraits_of(piece, labeller, settings.jpeg_quality)
        write_rows(part.rows, PORTRAIT_SCHEMA, portrait_rows(piece.collection, portraits, piece.first))
        report.clips = [f"{len(portraits.jpegs)} pictures, {len(portraits.landmarks)} faces"]
    else:
        report = RawReport(piece.key, piece.split)
        clips = _until_unreadable(clips_of(piece, labeller, settings, report), report)
        write_rows(part.rows, CLIP_SCHEMA, (clip.to_row() for clip in clips))
    _write_json(part.report, asdict(report))
    return part


def _until_unreadable(clips: Iterator[PreparedClip], report: RawReport) -> Iterator[PreparedClip]:
    """A bad video among thousands is reported, and does not end the run."""
    try:
        yield from clips
    except (SuperFaceError, OSError) as error:
        report.error = str(error)


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
        _write_json(path, manifest)
        return store

    def add(self, part: Part) -> None:
        """Takes over a finished part; packs a shard if there is enough for one."""
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
        """Packs what is left, and returns the manifest."""
        for split in self._packs:
            self._flush(split)
        shutil.rmtree(self.parts, ignore_errors=True)
        return self.manifest

    def _full(self, pack: _Pack) -> bool:
        return pack.size >= self.settings.shard_megabytes * 2**20

    def _without_duplicates(self, part: Part, report: RawReport) -> list[int]:
        """Chooses the rows to keep, by number, and notes the others in the report."""
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
        """A shard of what waits for it; then the manifest, which makes it count; then the parts go."""
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
        _write_json(self.out / MANIFEST, self.manifest)
        for part, _, _ in pack.parts:
            part.remove()


def _read_manifest(path: Path) -> dict[str, Any]:
    """
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
    """Counts raw videos, kept clips, and those that each filter dropped."""
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
    """Hashes and movement of a row."""
    return (
        np.frombuffer(row["hashes"], np.uint8).reshape(-1, 8),
        np.frombuffer(row["movement"], np.float16).reshape(-1, 3),
    )


def _rows(pack: _Pack) -> Iterator[dict[str, Any]]:
    for part, _, kept in pack.parts:
        with pq.ParquetFile(part.rows) as file:
            for number in kept:
                yield from file.read_row_group(number).to_pylist()


def _finished_parts(
    pieces: Iterable[RawPiece], parts: Path, settings: PrepareSettings, labels: LabelSource, workers: int
) -> Iterator[Part]:
    """Parts in the order of their pieces, worked out in this process or in others."""
    if workers <= 1:
        for piece in pieces:
            part = Part.of(piece, parts)
            yield part if part.done else work(piece, parts, settings, labels)
        return
    waiting: deque[Part | Future[Part]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            for piece in pieces:
                part = Part.of(piece, parts)
                waiting.append(part if part.done else pool.submit(_work_until_ended, piece, parts, settings, labels))
                # No more are handed out than are soon worked on: pieces of a stream hold whole videos.
                if len(waiting) >= AHEAD * workers:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        except BaseException:
            workers_of = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers_of:  # they may be minutes away from the end of a video
                process.terminate()
            raise


def _result(part: Part | Future[Part]) -> Part:
    try:
        return part.result() if isinstance(part, Future) else part
    except BrokenProcessPool as error:
        raise SuperFaceError(
            "A worker was ended from outside, perhaps for want of memory: start again with fewer --workers; what is done "
            "is kept."
        ) from error


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)
    # The main process ends its workers, and what one of them has half-written goes then.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_worker)
    Thread(target=_end_with_parent, daemon=True).start()


def _work_until_ended(piece: RawPiece, parts: Path, settings: PrepareSettings, labels: LabelSource) -> Part:
    """A pool takes the end of a worker for the failure of one piece, and would hand it the next."""
    try:
        return work(piece, parts, settings, labels)
    except SystemExit as end:
        os._exit(int(end.code or 0))


def _end_worker(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """A main process that was killed cannot end its workers, and they would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _changed(before: Any, now: Any) -> str:
    """Names the settings that differ, with both values."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{before}, now {now}"
    different = [key for key in now if before.get(key) != now[key]]
    return "; ".join(f"{key}: {_changed(before.get(key), now[key])}" for key in different)
