"""Look for a face as soon as a file is uploaded, and show where a face should be if none is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from ..animation.doubts import doubts_about
from ..animation.drawn_eyes import fit_drawn_eyes
from .limits import Limits, read_picture, read_sound, read_video, sized
from .look import note
from .messages import told
from .studio import Studio

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from ..models.tracker.base import Face

LOOKED_FOR = (
    "No face was found. Choose a picture like the outline: one person seen from the front, both eyes and the mouth in "
    "sight. A small face is found in a picture that is cut out around it."
)
FOUND, CHOSEN, OTHER = "Face found.", (46, 204, 113), (150, 150, 150)
OUTLINE = (255, 196, 0)
# The face outlined over a picture without one: its height as a share of the picture's shorter side.
OUTLINE_HEIGHT = 0.62
FRAMES_LOOKED_AT = 12


class Guide:
    """The event handlers below an upload field.

    Args:
        studio: the models, whose tracker finds faces.
        limits: limits on uploads.
    """

    def __init__(self, studio: Studio, limits: Limits) -> None:
        self._studio, self._limits = studio, limits

    def look_at_photo(self, photo: str | None) -> tuple[Any, Any]:
        """Return updates for the line below the field and for the picture that shows the faces or, without any, the
        outline to match."""
        if photo is None:
            return _nothing()
        try:
            return self._look(read_picture(photo, self._limits))
        except Exception as error:
            return _line(told("Looking at a photo failed", error), good=False), gr.update(visible=False, value=None)

    def look_at_video(self, video: str | None) -> tuple[Any, Any]:
        """Do what :meth:`look_at_photo` does, for the first frames of a video."""
        if video is None:
            return _nothing()
        try:
            reader = read_video(video, self._limits)
            first = None
            for number, frame in enumerate(sized(reader, self._limits)):
                first = frame if first is None else first
                if self._studio.pipe.tracker.find_faces(frame):
                    return self._look(frame)
                if number >= FRAMES_LOOKED_AT:
                    break
            assert first is not None
            return self._look(first)
        except Exception as error:
            return _line(told("Looking at a video failed", error), good=False), gr.update(visible=False, value=None)

    def listen_to(self, sound: str | None) -> Any:
        """Return the update for the line below the field: the length of the recording, or what is wrong with it."""
        if sound is None:
            return gr.update(value="", visible=False)
        try:
            return _line(f"{read_sound(sound, self._limits).seconds:.1f} seconds of sound.", good=True)
        except Exception as error:
            return _line(told("Listening to a recording failed", error), good=False)

    def must_show_a_face(self, photo: str) -> None:
        """Check that a photo shows a face.

        Raises:
            NoFaceError: it shows none.
        """
        self._studio.portrait(read_picture(photo, self._limits))

    def _look(self, picture: np.ndarray) -> tuple[Any, Any]:
        tracker = self._studio.pipe.tracker
        faces = tracker.find_faces(picture)
        if not faces:
            return _line(LOOKED_FOR, good=False), gr.update(value=outlined(picture), visible=True)
        drawn = fit_drawn_eyes(picture, faces[0].landmarks) is not None
        doubt = doubts_about(picture, faces[0], tracker, drawn)
        if doubt is None and len(faces) == 1:
            return _line(FOUND, good=True), gr.update(visible=False, value=None)
        several = f"{len(faces)} faces found. The largest one, in green, will move." if len(faces) > 1 else ""
        text = " ".join(part for part in (several, doubt) if part)
        return _line(text, good=doubt is None), gr.update(value=framed(picture, faces), visible=True)


def outlined(picture: np.ndarray) -> np.ndarray:
    """Return the picture (H, W, 3) uint8, dimmed, with the outline of a face that would be found."""
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    image = Image.fromarray((picture * 0.55).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    tall = OUTLINE_HEIGHT * min(height, width)
    _draw_face(pen, width / 2, height / 2, 0.76 * tall, tall, max(2, round(tall / 90)))
    return np.asarray(image)


def framed(picture: np.ndarray, faces: list[Face]) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 with a frame around each face; the first one, which is used, is green."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    line = max(2, round(min(picture.shape[:2]) / 160))
    for index, face in reversed(list(enumerate(faces))):
        low, high = face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)
        around = 0.12 * (high - low)
        corners = [tuple(map(float, low - around)), tuple(map(float, high + around))]
        pen.rounded_rectangle(corners, radius=4 * line, outline=OTHER if index else CHOSEN, width=line)
    return np.asarray(image)


def _draw_face(pen: ImageDraw, x: float, y: float, wide: float, tall: float, line: int) -> None:
    """Draw the outline of head, eyes, nose and mouth around (x, y), in pixels."""
    pen.ellipse((x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2), outline=OUTLINE, width=line)
    for side in (-1, 1):
        eye = x + side * 0.2 * wide
        pen.ellipse(
            (eye - 0.09 * wide, y - 0.12 * tall, eye + 0.09 * wide, y - 0.05 * tall), outline=OUTLINE, width=line
        )
    pen.line(
        (x, y - 0.04 * tall, x - 0.05 * wide, y + 0.12 * tall, x + 0.03 * wide, y + 0.12 * tall),
        fill=OUTLINE,
        width=line,
    )
    pen.arc((x - 0.18 * wide, y + 0.12 * tall, x + 0.18 * wide, y + 0.3 * tall), 20, 160, fill=OUTLINE, width=line)


def _line(text: str, good: bool) -> Any:
    return gr.update(value=note(text, good), visible=True)


def _nothing() -> tuple[Any, Any]:
    return gr.update(value="", visible=False), gr.update(value=None, visible=False)
