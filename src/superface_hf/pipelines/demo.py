"""The demo: a bundled portrait speaks a bundled sentence, and performs bundled motions. Works offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import superface_hf  # noqa: F401 - registers the task

from ..hub import weights_folder
from ..media import load_picture, save_picture
from ..motion import Motion
from ..motion.bundled import bundled_motion
from ..utils.assets import PORTRAIT, SPEECH
from ..utils.device import choose_device

MOTIONS = ("look_around", "smile", "speak", "blink")
MOTION_FPS = 12.5  # enough to show movement, and quick to render on a small CPU
COLUMNS, ROWS, CELL = 8, 4, 224
# Crops of the portrait, in pixels: head and shoulders for the pair of stills, and the head alone for the contact sheets.
SHOULDERS = (slice(0, 300), slice(76, 376))
HEAD = (slice(0, 230), slice(110, 340))
BEFORE_AFTER_SIDE = 450  # pixels
BEFORE_AFTER_EDIT = {"jawOpen": 0.25, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "browInnerUp": 0.5}


def write_demo(folder: Path) -> list[Path]:
    """Render the demo, and return the paths of two videos, their contact sheets and a before/after picture."""
    from transformers import pipeline

    pipe = pipeline("talking-face", model=str(weights_folder("teacher")), device=choose_device())  # type: ignore[call-overload]
    speaking = pipe(PORTRAIT, audio=SPEECH)
    motion = Motion.concatenate([bundled_motion(name).resample(MOTION_FPS) for name in MOTIONS])
    moving = pipe(PORTRAIT, motion=motion)
    written = []
    for name, clip in (("speaking", speaking), ("moving", moving)):
        video, sheet = folder / f"{name}.mp4", folder / f"{name}.png"
        clip.save(video)
        save_picture(sheet, contact_sheet(clip.frames[:, HEAD[0], HEAD[1]], COLUMNS, ROWS, CELL))
        written += [video, sheet]
    before, after = load_picture(PORTRAIT), pipe(PORTRAIT, edit=BEFORE_AFTER_EDIT).frames[0]
    pair = folder / "before_after.jpg"
    save_picture(pair, contact_sheet(np.stack([before, after])[:, SHOULDERS[0], SHOULDERS[1]], 2, 1, BEFORE_AFTER_SIDE))
    return [*written, pair]


def write_student_demo(folder: Path) -> list[Path]:
    """Render the embedded student speaking the bundled sentence, and return the paths of a video and its contact sheet.

    Raises:
        SuperFaceError: this installation holds no student.
    """
    from transformers import pipeline

    pipe = pipeline("talking-face", model=str(weights_folder("student")), device=choose_device())  # type: ignore[call-overload]
    clip = pipe(audio=SPEECH)
    video, sheet = folder / "student.mp4", folder / "student.png"
    clip.save(video)
    crop = pipe.model.crop
    rows, columns = (slice(max(0, int(start)), int(start + crop.side)) for start in (crop.top, crop.left))
    save_picture(sheet, contact_sheet(clip.frames[:, rows, columns], COLUMNS, ROWS, CELL))
    return [video, sheet]


def contact_sheet(frames: np.ndarray, columns: int, rows: int, cell: int) -> np.ndarray:
    """Return evenly spaced frames (T, H, W, 3) in a grid, in reading order, in cells of the given width."""
    height, width = frames.shape[1:3]
    size = (cell, round(cell * height / width))
    chosen = np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)
    cells = [np.asarray(Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS)) for index in chosen]
    lines = [np.concatenate(cells[row * columns : (row + 1) * columns], axis=1) for row in range(rows)]
    return np.concatenate(lines)
