"""Work on raw files, in this process or in several."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from ...errors import SuperFaceError
from ..prepared_set import CLIP_SCHEMA, PORTRAIT_SCHEMA, PreparedClip, portrait_rows, write_rows
from .clips import clips_of
from .labels import LabelSource, load_labeller
from .portraits import RawPictures, portraits_of
from .report import RawReport
from .settings import PrepareSettings
from .store import Part, RawPiece, write_json

AHEAD = 3  # pieces of work that wait for each worker


def work(piece: RawPiece, parts: Path, settings: PrepareSettings, labels: LabelSource) -> Part:
    """Do one piece of work; its clips and report are on disk afterwards."""
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
    write_json(part.report, asdict(report))
    return part


def _until_unreadable(clips: Iterator[PreparedClip], report: RawReport) -> Iterator[PreparedClip]:
    """Yield clips until the video cannot be read further: that is reported, and does not end the run."""
    try:
        yield from clips
    except (SuperFaceError, OSError) as error:
        report.error = str(error)


def finished_parts(
    pieces: Iterable[RawPiece], parts: Path, settings: PrepareSettings, labels: LabelSource, workers: int
) -> Iterator[Part]:
    """Yield the parts in the order of their pieces, worked out in this process or in others."""
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
    """Do one piece of work, and end the process if it is told to: the pool would hand it the next piece."""
    try:
        return work(piece, parts, settings, labels)
    except SystemExit as end:
        os._exit(int(end.code or 0))


def _end_worker(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End this worker when the main process has ended: one that was killed cannot end its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
