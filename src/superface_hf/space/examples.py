"""What the page opens with and what the example buttons bring: files that :mod:`.make_examples` made of the bundled portrait
and sentence, and a drawn person."""

from __future__ import annotations

import tempfile
import wave
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..demo import ASSETS, PORTRAIT, SPEECH

if TYPE_CHECKING:
    from ..media import Sound

FOLDER = ASSETS / "space"
# The portrait's face, a drawn person who moves, and what each tab makes of them: shown until visitors make their own.
FILES = {
    "photo": "example_photo.jpg",
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
# "Hello! A moment ago, I was only a photograph." ends here, in a pause.
SPEECH_SECONDS = 3.45


class Examples:
    """Paths for the example buttons and for the results that the page opens with."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="superface-examples-")

    def __getitem__(self, name: str) -> str:
        """One of ``FILES``."""
        return str(FOLDER / FILES[name])

    @cached_property
    def speech(self) -> str:
        path = Path(self._folder.name) / "example_speech.wav"
        _write_wav(path, cut_speech())
        return str(path)

    def includes(self, path: str | None) -> bool:
        """Whether a file is one of ours, whose person needs not be asked again."""
        return path is not None and _digest(Path(path)) in self._known

    @cached_property
    def _known(self) -> set[str]:
        return {_digest(path) for path in (PORTRAIT, *(FOLDER / name for name in FILES.values()))}


def cut_speech() -> Sound:
    """The first of the bundled words: enough to hear it, and quick to render."""
    from ..media import load_sound

    return load_sound(SPEECH).cut(SPEECH_SECONDS)


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _write_wav(path: Path, sound: Sound) -> None:
    import numpy as np

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes((sound.samples * 32767).astype(np.int16).tobytes())
