"""Write a visitor's frames into a video file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from ..provenance.marks import SOURCE_TYPE
from .background import TRANSPARENT_SUFFIX
from .progress import Stages

if TYPE_CHECKING:
    import numpy as np

    from ..media import Sound, SoundReader

# A handler yields this often, so that a visitor can stop it.
YIELD_EVERY = 0.4  # seconds


@dataclass(frozen=True)
class VideoPlan:
    """A video that is to be written.

    Attributes:
        name: the file's name without its suffix.
        frames: (H, W, 3) uint8 each; (H, W, 4) where they are transparent.
        fps: frames per second.
        total: the number of frames, if known.
        sound: the sound of the video.
        label: whether each frame says that it is synthetic.
        transparent: whether the video keeps transparency.
        source_type: IPTC's term for how it was made; ``marks.MADE_UP`` for a made-up face.
    """

    name: str
    frames: Iterable[np.ndarray]
    fps: float
    total: int | None = None
    sound: Sound | SoundReader | None = None
    label: bool = False
    transparent: bool = False
    source_type: str = SOURCE_TYPE


@dataclass(frozen=True)
class WrittenVideo:
    """A written video: the file, its size, and how long it took."""

    path: Path
    frames: int
    fps: float
    width: int
    height: int
    seconds_needed: float

    def facts(self) -> dict[str, Any]:
        """Return the entries of a video for the settings that are shown beside the result."""
        return {
            "length": f"{self.frames / self.fps:.1f} seconds, {self.frames} frames",
            "size": f"{self.width} x {self.height} pixels, {self.fps:g} frames a second",
            "time it took": f"{self.seconds_needed:.1f} seconds",
            "synthetic": True,
        }


def result_path(name: str) -> Path:
    """Return where to write a result: a folder with a random name inside gradio's, which serves it and deletes it later."""
    return Path(get_upload_folder(), secrets.token_urlsafe(16), name)


def video_output(plan: VideoPlan, stages: Stages, settings: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield a handler's outputs: no change while frames are written, then the video's path and its settings."""
    suffix = TRANSPARENT_SUFFIX if plan.transparent else ".mp4"
    for made in write_video(plan, result_path(f"{plan.name}{suffix}"), stages):
        if made is None:
            yield gr.skip(), gr.skip()
        else:
            yield str(made.path), {**settings, "label on the frames": plan.label, **made.facts()}


def write_video(plan: VideoPlan, path: Path, stages: Stages) -> Iterator[WrittenVideo | None]:
    """Write the video. Yield None every :data:`YIELD_EVERY` seconds, and at the end what was written.

    Raises:
        SuperFaceError: whatever the frames raise.
    """
    from ..media import Mp4Writer, Sound, SoundReader, transparent_writer

    sound = SoundReader(plan.sound) if isinstance(plan.sound, Sound) else plan.sound
    began = yielded = time.monotonic()
    count, shape = 0, (0, 0, 3)
    writing = transparent_writer if plan.transparent else Mp4Writer
    with writing(path, plan.fps, sound, sound.rate if sound else None, plan.label, plan.source_type) as writer:
        for frame in stages.over(plan.frames, "Drawing the frames", plan.total):
            writer.add(frame)
            count, shape = count + 1, frame.shape
            if time.monotonic() - yielded > YIELD_EVERY:
                yielded = time.monotonic()
                yield None
        stages.say("Writing the video")
    yield WrittenVideo(path, count, plan.fps, shape[1], shape[0], time.monotonic() - began)
