"""Run a batch: every row once, even if others fail, and a report of all."""

from __future__ import annotations

import csv
import io
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import MediaError, SuperFaceError, UnknownNameError
from ..utils.device import AUTO
from ..utils.files import hold, remove_parts, write_text
from ..utils.progress import progress_bar
from .columns import PLACES, check_columns, read_row
from .done import Notes, key_of
from .worker import ROW, RenderRow, file_of

Engine = Literal["local", "ray"]
REPORT = "report.csv"
FIELDS = ("row", "status", "error", "seconds", "file", "frames")
REPORT_EVERY = 5.0  # seconds


@dataclass(frozen=True, eq=False)
class BatchReport:
    """What became of a batch.

    Attributes:
        rows: of each row of the table, in its order: ``row`` (from 1), ``status`` ("done", "skipped" as it was finished
            before, or "failed"), ``error`` (one line), ``seconds``, ``file`` and ``frames``.
        path: of the same as a CSV file.
    """

    rows: Sequence[Mapping[str, Any]]
    path: Path

    @property
    def counts(self) -> Counter[str]:
        """How many rows have which status."""
        return Counter(str(row["status"]) for row in self.rows)


def run_batch(
    jobs: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    engine: Engine = "local",
    workers: int = 2,
    device: str = AUTO,
    dtype: str = AUTO,
    progress: bool | None = None,
) -> BatchReport:
    """Render a table of jobs.

    A row that fails is reported and stops no other. A row that is finished is skipped when the batch runs again: rows are
    known by their options and by the content of the files that they name, clips by their own content. A clip appears complete
    or not at all.

    Args:
        jobs: a CSV file, or rows. Columns are the options of ``superface generate``; files that a CSV file names by a
            relative path lie beside it. Lists, such as those of ``set``, are separated by ";".
        folder: where clips and ``report.csv`` go.
        engine: "local" renders in this process, a row after the other; "ray" on the actors of Ray Data, each of which loads
            its models once. A cluster is joined where ``RAY_ADDRESS`` names one, and must see the same files.
        workers: how many actors, for "ray".
        device, dtype: of the models.
        progress: whether a bar is shown; by default on a terminal.

    Raises:
        UnknownNameError: there is no such column or engine.
        MediaError: the table cannot be read or has no rows.
        SuperFaceError: another process is at work in the folder, or Ray is not installed.
    """
    if engine not in get_args(Engine):
        raise UnknownNameError(f"engine must be one of {', '.join(get_args(Engine))}, not {engine!r}.")
    rows, base = _table(jobs)
    folder = Path(folder).expanduser()
    hold(folder, "a batch")
    remove_parts(folder)
    Notes(folder).forget_attempts()
    results, waiting = _sorted_out(rows, base)
    report = _Report(folder / REPORT, len(rows), results)
    work = RenderRow(folder, device, dtype)
    same = _once(waiting)
    with progress_bar("Batch", len(same), progress) as bar:
        for result in bar.over(_run([row for row, _ in same.values()], work, engine, workers)):
            _, numbers = same[result.pop(ROW)]
            for index, other in enumerate(numbers):
                report.add(other, result if index == 0 else result | _again(result))
    remove_parts(folder)  # of processes that were killed
    report.write()
    return BatchReport([report.results[number] for number in range(1, len(rows) + 1)], report.path)


def _table(jobs: Any) -> tuple[list[dict[str, Any]], Path | None]:
    base = None
    if isinstance(jobs, (str, os.PathLike)):
        path = Path(jobs).expanduser()
        base = path.absolute().parent
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise MediaError(f"The table {path} cannot be read: {error}") from error
        reader = csv.DictReader(io.StringIO(text, newline=""))
        check_columns(reader.fieldnames or [])
        rows: list[dict[str, Any]] = list(reader)
    else:
        rows = [dict(row) for row in jobs]
        for row in rows:
            check_columns(row)
    if not rows:
        raise MediaError("The batch has no rows.")
    return rows, base


def _sorted_out(
    rows: list[dict[str, Any]], base: Path | None
) -> tuple[dict[int, dict[str, Any]], list[tuple[int, str, dict[str, Any]]]]:
    """Return the rows that cannot work, and the rest as (number, key, row), by model."""
    failed: dict[int, dict[str, Any]] = {}
    waiting: list[tuple[int, str, dict[str, Any]]] = []
    taken: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            if None in row:  # what the csv module makes of cells beyond the header
                raise MediaError("The row has more cells than the table has columns.")
            values = read_row(row, base)
            key = key_of(values)
            file = file_of(values, key)
            before, known = taken.setdefault(file, (number, key))
            if known != key:
                raise MediaError(f"Row {before} writes {file} already: name another output.")
            # Cells stay as they came, except paths, which are absolute now.
            waiting.append((number, key, {**row, **{name: values[name] for name in PLACES if name in values}}))
        except SuperFaceError as error:
            failed[number] = {"status": "failed", "error": " ".join(str(error).split())}
    return failed, sorted(waiting, key=lambda each: (str(each[2].get("model") or ""), each[0]))


def _once(waiting: list[tuple[int, str, dict[str, Any]]]) -> dict[int, tuple[dict[str, Any], list[int]]]:
    """Return the rows to render, by their numbers, each with the numbers of all rows that are the same."""
    first: dict[str, int] = {}
    same: dict[int, tuple[dict[str, Any], list[int]]] = {}
    for number, key, row in waiting:
        same.setdefault(first.setdefault(key, number), ({**row, ROW: number}, []))[1].append(number)
    return same


def _again(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "skipped"} if result["status"] == "done" else {}


def _run(rows: list[dict[str, Any]], work: RenderRow, engine: Engine, workers: int) -> Iterator[dict[str, Any]]:
    if engine == "ray":
        from .ray_engine import on_ray

        return on_ray(rows, work, workers)
    return map(work, rows)


class _Report:
    """The report as a file, which is always complete and updated often."""

    def __init__(self, path: Path, count: int, results: dict[int, dict[str, Any]]) -> None:
        self.path, self.results, self._written = path, {}, 0.0
        for number in range(1, count + 1):
            known = results.get(number, {"status": "waiting"})
            self.results[number] = {
                "row": number,
                "status": "",
                "error": "",
                "seconds": 0.0,
                "file": "",
                "frames": 0,
            } | known

    def add(self, number: int, result: Mapping[str, Any]) -> None:
        self.results[number] |= result
        if time.monotonic() - self._written > REPORT_EVERY:
            self.write()

    def write(self) -> None:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, FIELDS)
        writer.writeheader()
        writer.writerows(self.results.values())
        write_text(self.path, table.getvalue())
        self._written = time.monotonic()
