"""The motions that come with the package."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ..errors import UnknownNameError
from . import Motion
from .arkit import nearest_names

BUNDLED_MOTIONS = ("nod", "look_around", "blink", "smile", "speak")
_FOLDER = Path(__file__).parent.parent / "weights" / "motions"


@lru_cache(maxsize=len(BUNDLED_MOTIONS))
def bundled_motion(name: str) -> Motion:
    """Return one of ``BUNDLED_MOTIONS``: 2 to 4 seconds at 25 fps that start and end with a neutral face looking ahead.

    Give it to a portrait with ``motion.relative_to(motion[0], source)``; the pipeline does.
    """
    if name not in BUNDLED_MOTIONS:
        raise UnknownNameError(f"Unknown motion {name!r}. {nearest_names(name, BUNDLED_MOTIONS)}")
    return Motion.load(_FOLDER / f"{name}.safetensors")
