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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..demo import write_demo

    for path in write_demo(options.output):
        print(path)
