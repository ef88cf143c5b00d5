"""What a visitor may have behind the person: a choice and a colour. It is never a file's name, whatever a request says."""

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
    """The choices. A server that signs what it makes cannot sign a WebM, and not every PyAV can write one with alpha."""
    from ..media import check_transparent_path

    try:
        check_transparent_path(store.folder / f"some{TRANSPARENT_SUFFIX}")
    except SuperFaceError:
        return PICTURE, BLUR, COLOUR
    return PICTURE, BLUR, COLOUR, TRANSPARENT


def background_of(choice: str, colour: str) -> Any:
    """What the pipeline takes as ``background``.

    Raises:
        MediaError: there is no such choice, or the colour is none.
    """
    if choice == COLOUR:
        return _rgb(colour)
    if choice not in WORDS:
        raise MediaError(f"Choose one of these backgrounds: {', '.join(WORDS)}.")
    return None if choice == PICTURE else choice


def in_settings(choice: str, colour: str) -> str:
    """For the settings that are shown beside the result."""
    return "#{:02x}{:02x}{:02x}".format(*_rgb(colour)) if choice == COLOUR else WORDS[choice].lower()


def _rgb(colour: str) -> tuple[int, int, int]:
    found = _DECIMALS.fullmatch(colour.strip()) if isinstance(colour, str) else None
    try:
        numbers = [round(float(number)) for number in found.groups()] if found else ImageColor.getrgb(colour)[:3]
        red, green, blue = (min(number, 255) for number in numbers)
    except (ValueError, TypeError, AttributeError):
        raise MediaError("This is no colour. A colour is written like #20304a.") from None
    return red, green, blue
