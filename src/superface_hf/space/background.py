"""The background choices of the tabs: a name from a fixed list and a colour, never a file's name."""

from __future__ import annotations

import re
from typing import Any

from PIL import ImageColor

from ..errors import MediaError, SuperFaceError
from .store import Store

PICTURE, BLUR, COLOUR, TRANSPARENT = "picture", "blur", "colour", "transparent"
WORDS = {
    PICTURE: "As in the picture",
    BLUR: "Blurred",
    COLOUR: "A colour",
    TRANSPARENT: "Nothing (a transparent WebM)",
}
FIRST_COLOUR = "#20304a"
TRANSPARENT_SUFFIX = ".webm"
# Gradio's field gives decimals: rgba(32.4, 48, 74.1, 1).
_DECIMALS = re.compile(r"rgba?\(\s*([\d.]{1,9})\s*,\s*([\d.]{1,9})\s*,\s*([\d.]{1,9})\s*(?:,\s*[\d.]{1,9}\s*)?\)")


def offered(store: Store) -> tuple[str, ...]:
    """Return the background choices. "Transparent" is left out where a WebM cannot be signed, or PyAV cannot write one
    with alpha."""
    from ..media import check_transparent_path

    try:
        check_transparent_path(store.folder / f"some{TRANSPARENT_SUFFIX}")
    except SuperFaceError:
        return PICTURE, BLUR, COLOUR
    return PICTURE, BLUR, COLOUR, TRANSPARENT


def background_of(choice: str, colour: str) -> Any:
    """Return the pipeline's ``background`` argument for a visitor's choice.

    Raises:
        MediaError: the choice is unknown, or the colour cannot be parsed.
    """
    if choice == COLOUR:
        return _rgb(colour)
    if choice not in WORDS:
        raise MediaError(f"Choose one of these backgrounds: {', '.join(WORDS)}.")
    return None if choice == PICTURE else choice


def in_settings(choice: str, colour: str) -> str:
    """Return the background as text for the settings that are shown beside the result."""
    return "#{:02x}{:02x}{:02x}".format(*_rgb(colour)) if choice == COLOUR else WORDS[choice].lower()


def _rgb(colour: str) -> tuple[int, int, int]:
    found = _DECIMALS.fullmatch(colour.strip()) if isinstance(colour, str) else None
    try:
        numbers = [round(float(number)) for number in found.groups()] if found else ImageColor.getrgb(colour)[:3]
        red, green, blue = (min(number, 255) for number in numbers)
    except (ValueError, TypeError, AttributeError):
        raise MediaError("This is not a colour. Please write it like #20304a.") from None
    return red, green, blue
