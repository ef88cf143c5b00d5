"""The log of a training: a file of JSON lines, whose numbers go to the program's log and to experiment trackers too."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ...utils.files import write_text

logger = logging.getLogger(__name__)


class TrainingLog:
    """Writes ``log.jsonl`` in a training's folder, on the main process alone."""

    def __init__(self, out: Path, accelerator: Accelerator) -> None:
        self._path, self._accelerator = out / "log.jsonl", accelerator

    def write(self, record: dict[str, Any], step: int) -> None:
        """Append a line, and send its numbers to the experiment trackers."""
        if not self._accelerator.is_main_process:
            return
        line = json.dumps(record)
        with open(self._path, "a") as file:
            file.write(line + "\n")
        logger.info(line)
        self._accelerator.log(_numbers(record), step=step)

    def show(self, name: str, picture: Path, step: int) -> None:
        """Show a picture file in tensorboard, if that is one of the trackers."""
        from ...media import load_picture

        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard" and self._accelerator.is_main_process:
                tracker.log_images({name: load_picture(picture)[None]}, step=step, dataformats="NHWC")

    def cut(self, step: int) -> None:
        """Remove the lines that a killed training wrote after its checkpoint of ``step``, half lines included.

        Those steps are taken, and logged, again.
        """
        if not self._accelerator.is_main_process or not self._path.exists():
            return
        lines = self._path.read_text(errors="replace").splitlines()
        kept = [line for line in lines if _logged_step(line) <= step]
        if len(kept) < len(lines):
            write_text(self._path, "".join(f"{line}\n" for line in kept))


def _logged_step(line: str) -> float:
    """Return the step of a line, or infinity for a damaged one."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _numbers(record: dict[str, Any], section: str = "") -> dict[str, float]:
    """Collect the numbers of a record for trackers, those of nested records as ``outer/inner``."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            numbers.update(_numbers(value, f"{section}{name}/"))
        elif isinstance(value, (int, float)) and name != "step":
            numbers[section + name] = value
    return numbers
