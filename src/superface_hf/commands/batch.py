"""``superface batch``: a table of jobs -> a folder of clips and a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..utils.device import AUTO, DEVICE_HELP, DTYPE_HELP, DTYPES
from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "batch",
        help="a table of jobs -> a folder of clips and a report",
        description="Renders every row of a CSV file. Its columns are named as the options of superface generate (photo, "
        "model, audio, text, video, motion, seed, ...; lists are separated by semicolons), and files lie beside it. A row that "
        "fails stops no other: report.csv in the folder says what became of each. Run it again, and only what is not finished "
        "is rendered. Status 1: some rows failed.",
    )
    parser.add_argument("jobs", type=Path, help="the CSV file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for clips and report.csv")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this process (default), or the actors of Ray Data"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of actors, with --engine ray (default: 2)")
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    parser.add_argument("--dtype", choices=DTYPES, default=AUTO, help=DTYPE_HELP)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..batch import run_batch

    report = run_batch(
        options.jobs, options.output, options.engine, options.workers, device=options.device, dtype=options.dtype
    )
    counts = report.counts
    line = f"{report.path}: {counts['done']} done, {counts['skipped']} finished before, {counts['failed']} failed"
    print_result(options, line, report=report.path, rows=[dict(row) for row in report.rows], **dict(counts))
    return 1 if counts["failed"] else 0
