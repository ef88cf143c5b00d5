"""What the example buttons bring: the bundled portrait and sentence, and clips made of them at first use."""

from __future__ import annotations

import tempfile
import threading
import wave
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..demo import PORTRAIT, SPEECH
from .studio import Studio

if TYPE_CHECKING:
    from ..media import Sound

LICENCE = (
    "Examples: NASA's portrait of Eileen Collins, in the public domain. The voice is a speech synthesiser's, CC0. "
    "NASA endorses nothing here."
)
# "Hello! A moment ago, I was only a photograph." ends here, in a pause.
SPEECH_SECONDS = 3.45
# The driving video: a bundled motion, rendered; enough frames to see it move, and quick to make.
MOTION, MOTION_FPS, MOTION_FRAMES = "smile", 12.5, 24


class Examples:
    """Files for the example buttons, written when they are first asked for."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._lock = studio, threading.Lock()
        self._known = {_digest(PORTRAIT)}
        self._folder = tempfile.TemporaryDirectory(prefix="superface-examples-")

    @property
    def photo(self) -> str:
        return str(PORTRAIT)

    @cached_property
    def speech(self) -> str:
        from ..media import load_sound

        path = Path(self._folder.name) / "example_speech.wav"
        _write_wav(path, load_sound(SPEECH).cut(SPEECH_SECONDS))
        return str(path)

    @property
    def video(self) -> str:
        """The portrait, smiling: a driving video, and one to dub."""
        path = Path(self._folder.name) / "example_video.mp4"
        with self._lock:
            if not path.exists():
                self._write_video(path)
                self._known.add(_digest(path))
        return str(path)

    def includes(self, path: str | None) -> bool:
        """Whether a file is one of ours, whose person needs not be asked again."""
        return path is not None and _digest(Path(path)) in self._known

    def _write_video(self, path: Path) -> None:
        from ..drivers.bundled import bundled_motion
        from ..media import write_mp4

        motion = bundled_motion(MOTION).resample(MOTION_FPS)[:MOTION_FRAMES]
        motion = replace(motion, fps=MOTION_FPS)
        write_mp4(path, self._studio.pipe.stream(PORTRAIT, motion=motion), MOTION_FPS)


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _write_wav(path: Path, sound: Sound) -> None:
    import numpy as np

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes((sound.samples * 32767).astype(np.int16).tobytes())
