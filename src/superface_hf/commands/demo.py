"""``superface demo``: animates a bundled portrait."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="animate a bundled portrait", description="Animates a bundled portrait.")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), help="the folder to write to (default: demo)"
    )
    parser.add_argument(
        "--student",
        action="store_true",
        help="let the student of that portrait speak instead, which is many times as fast",
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..pipelines.demo import write_demo, write_student_demo

    write = write_student_demo if options.student else write_demo
    paths = write(options.output)
    print_result(options, "\n".join(map(str, paths)), outputs=paths)
