"""What commands print: one result, as a line for people or as JSON for programs, and nothing else where that is asked for."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Libraries read these when they are first imported, and so do processes that a command starts.
SILENT = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Give a command ``--json``; :func:`print_result` obeys it."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object, for programs")


def print_result(options: argparse.Namespace, line: object, **facts: Any) -> None:
    """Print what a command made.

    Args:
        options: the command's; they hold ``json``.
        line: for people.
        facts: the same for programs, by name. Paths and whatever else JSON does not know become strings.
    """
    print(json.dumps(_finite(facts), indent=2, default=str) if options.json else line)


def _finite(value: Any) -> Any:
    """Put null where a figure is infinite or not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def silence() -> Iterator[None]:
    """Hide progress bars, warnings and notes while a command runs; errors and the result are still printed.

    It works through the environment, which is put back at the end: a library that was imported before keeps its own setting.
    """
    before = {name: os.environ.get(name) for name in SILENT}
    os.environ.update(SILENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
