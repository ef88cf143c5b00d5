"""Frames on their way into a video file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from .background import TRANSPARENT_SUFFIX
from .progress import Stages

if TYPE_CHECKING:
    import numpy as np

    from ..media import Sound, SoundReader

# How often a handler comes up for air, so that a visitor can stop it.
BREATH = 0.4  # seconds


@dataclass(frozen=True)
class Take:
    """What is to be filmed.

    Attributes:
        name: of the file, without its suffix.
        frames: (H, W, 3) uint8 each; (H, W, 4) where they are transparent.
        fps: their rate.
        total: how many there will be, as far as that is known.
        sound: goes with them.
        label: whether each frame says that it is synthetic.
        transparent: whether the film keeps what shines through.
    """

    name: str
    frames: Iterable[np.ndarray]
    fps: float
    total: int | None = None
    sound: Sound | SoundReader | None = None
    label: bool = False
    transparent: bool = False


@dataclass(frozen=True)
class Film:
    """A written video: the file, its size, and how long it took."""

    path: Path
    frames: int
    fps: float
    width: int
    height: int
    seconds_needed: float

    def facts(self) -> dict[str, Any]:
        """For the settings shown beside the result."""
        return {
            "length": f"{self.frames / self.fps:.1f} seconds, {self.frames} frames",
            "size": f"{self.width} x {self.height} pixels, {self.fps:g} frames a second",
            "time it took": f"{self.seconds_needed:.1f} seconds",
            "synthetic": True,
        }


def result_path(name: str) -> Path:
    """Where a result is written: in a folder of its own with a name that nobody can guess, inside gradio's, which serves it and
    sweeps it away."""
    return Path(get_upload_folder(), secrets.token_urlsafe(16), name)


def screening(take: Take, stages: Stages, settings: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """What a handler yields: nothing new while it films, at last the video's path and the settings it was made with."""
    suffix = TRANSPARENT_SUFFIX if take.transparent else ".mp4"
    for made in film(take, result_path(f"{take.name}{suffix}"), stages):
        if made is None:
            yield gr.skip(), gr.skip()
        else:
            yield str(made.path), {**settings, "label on the frames": take.label, **made.facts()}


def film(take: Take, path: Path, stages: Stages) -> Iterator[Film | None]:
    """Writes the video; yields None now and then, and at last what was written.

    Raises:
        SuperFaceError: whatever the frames raise.
    """
    from ..media import Mp4Writer, Sound, SoundReader, transparent_writer

    sound = SoundReader(take.sound) if isinstance(take.sound, Sound) else take.sound
    began = breathed = time.monotonic()
    count, shape = 0, (0, 0, 3)
    writing = transparent_writer if take.transparent else Mp4Writer
    with writing(path, take.fps, sound, sound.rate if sound else None, take.label) as writer:
        for frame in stages.over(take.frames, "Drawing the frames", take.total):
            writer.add(frame)
            count, shape = count + 1, frame.shape
            if time.monotonic() - breathed > BREATH:
                breathed = time.monotonic()
                yield None
        stages.say("Writing the video")
    yield Film(path, count, take.fps, shape[1], shape[0], time.monotonic() - began)
