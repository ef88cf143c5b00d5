"""The columns of a batch: those of ``superface generate``, and what their cells mean to the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import MotionError, UnknownNameError
from ..media import WorkLimit, is_url

YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _flag(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError("yes or no")
    return text.lower() in YES


def _face(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _numbers(text: str) -> dict[str, float]:
    return {name: float(value) if value else 1.0 for name, value in _pairs(text)}


def _names(text: str) -> dict[str, str]:
    return dict(_pairs(text))


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for part in text.split(";"):
        name, _, value = part.partition("=")
        yield name.strip(), value.strip()


# What a cell is read as. The names are those of generate's options, with "_" for "-".
COLUMNS: dict[str, Callable[[str], Any]] = {
    "photo": str, "model": str, "output": str,
    "audio": str, "text": str, "tts": str, "video": str, "motion": str,
    "articulation": float, "when_short": str, "time_limit": float, "driving_face": _face, "face": _face,
    "no_idle": _flag, "diffusion": _flag, "style": str, "emotion": _numbers, "strength": float, "guidance_scale": float,
    "seed": int, "set": _numbers, "region": _names, "absolute": _flag, "from_first_frame": _flag,
    "fps": float, "crop": _flag, "background": str, "restore": float, "restorer": str,
    "presentation": str, "age": float, "tone": float,
}  # fmt: skip
# Cells that may name a file or folder: what is in it counts, not what it is called.
PLACES = ("photo", "model", "audio", "video", "motion", "background", "restorer")
AS_THEY_ARE = (
    "audio", "text", "tts", "video", "motion", "articulation", "when_short", "driving_face", "face", "style", "emotion",
    "strength", "guidance_scale", "seed", "fps", "background", "restore",
)  # fmt: skip
GROUP = ("presentation", "age", "tone")


def check_columns(names: Iterable[str]) -> None:
    """Refuse columns that do not exist.

    Raises:
        UnknownNameError: names the first of them, and what it may have meant.
    """
    for name in names:
        if _column(name) not in COLUMNS:
            near = get_close_matches(_column(name), COLUMNS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(COLUMNS)}"
            raise UnknownNameError(f"A batch has no column {name!r}{hint}")


def read_row(row: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Return the cells that are filled, as what they mean.

    Args:
        row: cells by column; None and empty ones are left out.
        base: where files lie that are named by a relative path; by default as for any other program.

    Raises:
        MotionError: a cell cannot be read.
    """
    values: dict[str, Any] = {}
    for column, cell in row.items():
        name = _column(column)
        if name not in COLUMNS or cell is None or cell != cell or not str(cell).strip():  # NaN is an empty cell
            continue
        text = str(cell).strip()
        try:
            values[name] = COLUMNS[name](text)
        except ValueError as error:
            raise MotionError(f"The column {name} cannot hold {text!r}: {error}") from error
        if name in PLACES and base is not None and not is_url(text) and (base / text).exists():
            values[name] = str((base / text).absolute())
    return values


def arguments_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``TalkingFacePipeline.write``, besides the file and the picture.

    Raises:
        MotionError: two columns exclude each other.
    """
    for one, other in (("absolute", "from_first_frame"), ("no_idle", "diffusion")):
        if values.get(one) and values.get(other):
            raise MotionError(f"The columns {one} and {other} exclude each other.")
    given = {name: values[name] for name in AS_THEY_ARE if name in values}
    group = {name: values[name] for name in GROUP if name in values}
    return given | {
        "edit": values.get("set"),
        "regions": values.get("region"),
        "relative": False if values.get("absolute") else True if values.get("from_first_frame") else "auto",
        "idle": "diffusion" if values.get("diffusion") else not values.get("no_idle", False),
        "paste_back": not values.get("crop", False),
        "portrait": group or None,
        "limit": WorkLimit(seconds=values["time_limit"]) if "time_limit" in values else None,
        "progress": False,
    }


def _column(name: str) -> str:
    return str(name).strip().lstrip("-").replace("-", "_").lower()
