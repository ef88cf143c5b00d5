"""One row of a batch -> one clip. Loads each model once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ..drivers.text import check_text, load_pipeline
from ..errors import MediaError, MotionError, SuperFaceError
from ..hub import loading, weights_folder
from ..layers.background import TRANSPARENT
from ..media import load_picture
from ..utils.device import AUTO, choose_device
from .columns import arguments_of, check_columns, read_row
from .done import Notes, key_of

MOST_MODELS = 4  # that are kept; a batch is sorted by model, so more are of no use
ROW = "_row"  # which row of the table it is; stays with it


class RenderRow:
    """Renders rows: for ``datasets.Dataset.map``, for Ray Data, or called by hand.

    It can be pickled; models are loaded where it is first called, and kept.

    Args:
        folder: where clips go.
        device: of the models: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: "auto", "float32", "bfloat16" or "float16".
    """

    def __init__(self, folder: str | os.PathLike[str], device: str = AUTO, dtype: str = AUTO) -> None:
        self.folder, self.device, self.dtype = str(Path(folder).absolute()), device, dtype
        self._pipes: dict[tuple[str, str | None], Any] = {}
        self._voices: dict[str, Callable[[str], Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pipes": {}, "_voices": {}}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Render a row, unless it is finished already.

        Args:
            row: cells by column, named as the options of ``superface generate``; those that are empty or None are left out.
                A column "_row" comes back.

        Returns:
            ``status`` ("done", "skipped" or "failed"), ``error`` (one line; empty where there is none), ``seconds`` that it
            took, ``file`` (within the folder), ``frames``, and ``_row``.

        Raises:
            UnknownNameError: there is no such column. All else that goes wrong is the row's result.
        """
        check_columns(name for name in row if name != ROW)
        start = time.perf_counter()
        result: dict[str, Any] = {
            ROW: int(row.get(ROW) or 0), "status": "failed", "error": "", "seconds": 0.0, "file": "", "frames": 0,
        }  # fmt: skip
        try:
            result |= self._rendered(read_row(row))
        except Exception as error:
            result["error"] = " ".join(f"{_kind(error)}{error}".split()) or type(error).__name__
        if result["status"] != "skipped":
            result["seconds"] = round(time.perf_counter() - start, 3)
        return result

    def _rendered(self, values: dict[str, Any]) -> dict[str, Any]:
        notes, key = Notes(Path(self.folder)), key_of(values)
        if note := notes.finished(key):
            return {"status": "skipped"} | {name: note[name] for name in ("file", "frames", "seconds")}
        start = time.perf_counter()
        notes.attempt(key)
        try:
            file = file_of(values, key)
            path = Path(self.folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = self._write(path, values)
            notes.finish(key, file, frames, round(time.perf_counter() - start, 3))
        finally:
            notes.leave(key)
        return {"status": "done", "file": file, "frames": frames}

    def _write(self, path: Path, values: dict[str, Any]) -> int:
        asked = arguments_of(values)
        if not any(name in values for name in ("audio", "text", "video", "motion", "set", "region")):
            raise MotionError(
                "There is nothing to drive it with: fill one of audio, text, video, motion, set and region."
            )
        picture = load_picture(values["photo"]) if "photo" in values else None
        if "text" in values:
            check_text(values["text"], values.get("tts"))
            asked["tts"] = self._voice(values["tts"])
        return len(self._pipe(values.get("model"), values.get("restorer")).write(path, picture, **asked))

    def _pipe(self, model: str | None, restorer: str | None) -> Any:
        from transformers import pipeline

        name = model or str(weights_folder("teacher"))
        both = name, restorer
        if both not in self._pipes:
            if len(self._pipes) >= MOST_MODELS:
                self._pipes.pop(next(iter(self._pipes)))
            with loading(name):
                self._pipes[both] = pipeline(  # type: ignore[call-overload]
                    "talking-face",
                    model=name,
                    device=choose_device(self.device),
                    dtype=self.dtype,
                    restorer=restorer,
                )
        return self._pipes[both]

    def _voice(self, name: str) -> Callable[[str], Any]:
        if name not in self._voices:
            self._voices[name] = load_pipeline("text-to-speech", name, choose_device(self.device))
        return self._voices[name]


def file_of(values: Mapping[str, Any], key: str) -> str:
    """Return where a row's clip goes, within the batch's folder: what ``output`` says, or a name of what goes in.

    Raises:
        MediaError: that would not be within the folder.
    """
    if "output" in values:
        path = PurePath(values["output"])
        if path.is_absolute() or ".." in path.parts:
            raise MediaError(f"output must lie within the batch's folder, not at {path}.")
        return path.as_posix()
    parts = [
        PurePath(str(values[name])).stem for name in ("photo", "model", "audio", "video", "motion") if name in values
    ]
    suffix = ".webm" if values.get("background") == TRANSPARENT else ".mp4"
    return "-".join([*parts, key[:8]])[-100:].lstrip("-.") + suffix


def _kind(error: Exception) -> str:
    """Return what to note of an error: our own say what is wrong; of others the type is needed too."""
    return "" if isinstance(error, SuperFaceError) else f"{type(error).__name__}: "
