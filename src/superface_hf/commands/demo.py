"""``superface demo``: animates a bundled portrait."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="animate a bundled portrait", description="Animates a bundled portrait.")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), help="the folder to write to (default: demo)"
    )
    parser.add_argument(
        "--student",
        action="store_true",
        help="let the student of that portrait speak instead, who is many times as fast",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..pipelines.demo import write_demo, write_student_demo

    write = write_student_demo if options.student else write_demo
    for path in write(options.output):
        print(path)
