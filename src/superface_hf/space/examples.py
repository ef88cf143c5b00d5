"""The example files of the page: :mod:`.make_examples` made them from the bundled portrait and sentence, and a drawn
person."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path

from ..utils.assets import ASSETS, PORTRAIT

FOLDER = ASSETS / "space"
# The portrait's face, the first words of the sentence, a drawn person who moves, and what each tab makes of them, which is
# shown until visitors make their own.
FILES = {
    "photo": "example_photo.jpg",
    "speech": "example_speech.wav",
    "video": "example_video.mp4",
    "talk": "example_talk.mp4",
    "mimic": "example_mimic.mp4",
    "edit": "example_edit.jpg",
    "dub": "example_dub.mp4",
    "student": "example_student.jpg",
}
LICENCE = (
    "Examples: NASA's portrait of Eileen Collins, in the public domain; a drawn person; a speech synthesiser's voice, CC0. "
    "NASA endorses nothing here."
)


class Examples:
    """Paths for the example buttons and for the results that the page opens with."""

    def __getitem__(self, name: str) -> str:
        """Return the path of one of ``FILES``."""
        return str(FOLDER / FILES[name])

    def includes(self, path: str | None) -> bool:
        """Return whether a file is one of the bundled examples, whose person already agreed."""
        return path is not None and _digest(Path(path)) in self._known

    @cached_property
    def _known(self) -> set[str]:
        return {_digest(path) for path in (PORTRAIT, *(FOLDER / name for name in FILES.values()))}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
