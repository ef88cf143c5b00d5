"""Draw things whose parts are placed like a face's: walls with windows, cars, sockets, animals' noses, hands, appliances.

The detector is trained with them behind and beside people. ``benchmarks/tracker.py`` counts, with other seeds, how often one
of them is taken for the person.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

# Fixed-point bits of OpenCV's drawing.
SHIFT = 4
SKIN = ((236, 200, 175), (205, 155, 120), (150, 100, 72), (95, 62, 45))
FUR = ((190, 150, 100), (120, 85, 55), (70, 60, 55), (225, 215, 200))


@dataclass
class Canvas:
    """A picture and a place in it: shapes are drawn in units of ``size`` around (x, y), turned by ``roll`` radians."""

    pixels: np.ndarray
    x: float
    y: float
    size: float
    roll: float

    def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
        """Fill the polygon of points (N, 2)."""
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        placed = points @ np.array([[cos, sin], [-sin, cos]]) * self.size + (self.x, self.y)
        corners = np.round(placed * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(self.pixels, [corners], [float(value) for value in colour], cv2.LINE_AA, SHIFT)

    def rectangle(self, x: float, y: float, wide: float, high: float, colour: np.ndarray, arch: float = 0.0) -> None:
        """Draw a rectangle around (x, y); ``arch`` is how far its upper side bulges, over its height."""
        along = np.linspace(-0.5, 0.5, 9)
        upper = np.stack([along, -0.5 - arch * (0.25 - along**2) * 4], axis=1)
        shape = np.concatenate([upper, [[0.5, 0.5], [-0.5, 0.5]]])
        self.polygon(shape * (wide, high) + (x, y), colour)

    def ellipse(self, x: float, y: float, wide: float, high: float, colour: np.ndarray) -> None:
        turns = np.linspace(0, math.tau, 25)[:-1]
        self.polygon(np.stack([np.cos(turns) * wide / 2 + x, np.sin(turns) * high / 2 + y], axis=1), colour)

    def stroke(self, start: np.ndarray, end: np.ndarray, wide: float, colour: np.ndarray) -> None:
        """Draw a thick line with round ends."""
        aside = np.array([start[1] - end[1], end[0] - start[0]]) / max(float(np.hypot(*(end - start))), 1e-6) * wide / 2
        self.polygon(np.stack([start + aside, end + aside, end - aside, start - aside]), colour)
        for x, y in (start, end):
            self.ellipse(float(x), float(y), wide, wide, colour)


def _dark(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(8, 90) * rng.uniform(0.8, 1.2, 3)


def _shade(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    return np.clip(np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.7, 1.1, 3), 0, 255)


def _window(canvas: Canvas, rng: np.random.Generator, x: float, y: float, wide: float, high: float, style: int) -> None:
    """Draw a dark rectangle; by ``style`` with a frame, bars, an arch, shutters, a light curtain or a sill."""
    dark, arch = _dark(rng), 0.3 if style == 3 else 0.0
    frame = np.clip(rng.uniform(0.5, 1.1) * np.array((230, 228, 220)), 0, 255)
    if style in (1, 2):
        canvas.rectangle(x, y, wide * 1.2, high * 1.15, frame)
    canvas.rectangle(x, y, wide, high, dark, arch)
    if style == 2:
        canvas.rectangle(x, y, wide * 0.08, high, frame)
        canvas.rectangle(x, y, wide, high * 0.08, frame)
    elif style == 4:
        for side in (-1, 1):
            canvas.rectangle(x + side * wide * 0.75, y, wide * 0.4, high * 1.05, _dark(rng) * 1.5)
    elif style == 5:
        canvas.rectangle(x, y - high * 0.25, wide * 0.9, high * 0.4, frame)
    elif style == 6:
        canvas.rectangle(x, y + high * 0.6, wide * 1.3, high * 0.12, frame)


def _windows_like_a_face(canvas: Canvas, rng: np.random.Generator) -> None:
    style = int(rng.integers(7))
    places = ((-0.45, -0.4, 0.35, 0.3), (0.45, -0.4, 0.35, 0.3), (0, 0.12, 0.2, 0.25), (0, 0.6, 0.6, 0.25))
    spread = rng.uniform(0.02, 0.1)
    for number, (x, y, wide, high) in enumerate(places):
        if rng.random() > (0.05 if number < 2 else 0.25):
            x, y = np.array((x, y)) + rng.normal(0, spread, 2)
            wide, high = np.array((wide, high)) * rng.uniform(0.6, 1.5, 2)
            _window(canvas, rng, x, y, wide, high, style)


def _rows_of_windows(canvas: Canvas, rng: np.random.Generator) -> None:
    style, wide, high = int(rng.integers(7)), rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.7)
    across, down = wide * rng.uniform(1.3, 3), high * rng.uniform(1.2, 2.2)
    for row in range(-3, 4):
        for column in range(-3, 4):
            if rng.random() > 0.1:
                _window(canvas, rng, column * across, row * down, wide, high, style)


def _scattered_rectangles(canvas: Canvas, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 13))):
        x, y = rng.uniform(-1.1, 1.1, 2)
        wide, high = rng.uniform(0.1, 0.7, 2)
        canvas.rectangle(x, y, wide, high, _dark(rng))


def draw_wall(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw dark rectangles: two windows, a lamp and a door; rows of windows; or anywhere."""
    draw = (_windows_like_a_face, _rows_of_windows, _scattered_rectangles)
    draw[int(rng.choice(3, p=[0.6, 0.2, 0.2]))](canvas, rng)


def draw_car(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a car from the front: windscreen, lamps, grille, number plate, wheels."""
    body, dark, lamp = rng.uniform(20, 240, 3), _dark(rng), rng.uniform(150, 255) * np.ones(3)
    canvas.rectangle(0, -0.35, rng.uniform(1, 1.3), 0.7, body, arch=0.3)
    canvas.rectangle(0, -0.4, rng.uniform(0.8, 1.0), rng.uniform(0.3, 0.5), dark, arch=0.2)
    canvas.rectangle(0, 0.3, rng.uniform(1.4, 1.7), rng.uniform(0.7, 0.9), body)
    high = rng.uniform(0.12, 0.35)
    for side in (-1, 1):
        draw = canvas.ellipse if rng.random() < 0.6 else canvas.rectangle
        draw(side * 0.5, 0.12, rng.uniform(0.2, 0.4), high, dark)
        draw(side * 0.5, 0.12, rng.uniform(0.1, 0.3), high * 0.8, lamp)
        canvas.rectangle(side * 0.6, 0.75, 0.28, 0.3, _dark(rng) * 0.5)
    canvas.rectangle(0, rng.uniform(0.2, 0.4), rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.35), dark)
    canvas.rectangle(0, rng.uniform(0.45, 0.65), rng.uniform(0.3, 0.5), 0.12, lamp)


def draw_socket(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a plate with holes: two round ones, slots, slots with a hole below, or a switch."""
    plate, dark = rng.uniform(140, 255) * np.ones(3), _dark(rng)
    canvas.rectangle(0, 0, rng.uniform(1.5, 2), rng.uniform(1.5, 2.4), plate * rng.uniform(0.85, 1))
    if rng.random() < 0.5:
        canvas.ellipse(0, 0, 1.4, 1.4, plate * rng.uniform(0.7, 1))
    kind, apart, hole = int(rng.integers(4)), rng.uniform(0.25, 0.5), rng.uniform(0.12, 0.3)
    for side in (-1, 1):
        if kind == 0:
            canvas.ellipse(side * apart, 0, hole, hole, dark)
        elif kind == 1:
            canvas.rectangle(side * apart, -0.2, hole * 0.6, rng.uniform(0.3, 0.5), dark)
        else:
            tilt = side * rng.uniform(0.05, 0.15)
            canvas.stroke(np.array([side * apart - tilt, -0.25]), np.array([side * apart + tilt, 0.1]), 0.12, dark)
    if kind in (1, 2):
        canvas.ellipse(0, rng.uniform(0.25, 0.5), hole, hole, dark)
    elif kind == 3:
        canvas.rectangle(0, rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.8), 0.15, dark)


def draw_nose(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw an animal's muzzle: fur, a dark nose with two nostrils, the line of a mouth."""
    fur, dark = _shade(rng, FUR), _dark(rng) * 0.6
    canvas.ellipse(0, 0.1, rng.uniform(1.5, 2), rng.uniform(1.4, 2), fur)
    for side in (-1, 1):
        canvas.ellipse(side * 0.35, 0.45, 0.8, rng.uniform(0.6, 0.9), np.clip(fur * rng.uniform(1, 1.25), 0, 255))
    wide, high = rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.7)
    colour = np.clip(dark * rng.uniform(1, 2.5), 0, 255) if rng.random() < 0.7 else np.array((200.0, 130, 125))
    canvas.ellipse(0, -0.1, wide, high, colour)
    for side in (-1, 1):
        canvas.ellipse(side * wide * 0.25, -0.05, wide * rng.uniform(0.12, 0.28), high * rng.uniform(0.2, 0.5), dark)
        corner = np.array([side * rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.8)])
        canvas.stroke(np.array([0, 0.5]), corner, rng.uniform(0.03, 0.08), dark)
    canvas.stroke(np.array([0, 0.15]), np.array([0, 0.5]), rng.uniform(0.03, 0.08), dark)


def draw_hand(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a hand, open or a fist, with creases and nails."""
    skin = _shade(rng, SKIN)
    crease, open_hand = skin * rng.uniform(0.5, 0.8), rng.random() < 0.6
    canvas.ellipse(0, 0.3, rng.uniform(0.9, 1.2), rng.uniform(1.0, 1.3), skin)
    canvas.rectangle(0, 1.1, 0.7, 0.9, skin)
    for number, across in enumerate((-0.42, -0.14, 0.14, 0.42)):
        length = (0.6, 0.85, 0.9, 0.7)[number] if open_hand else 0.1
        root = np.array([across, -0.1])
        tip = root + length * np.array([across * rng.uniform(0.2, 0.9), -1])
        canvas.stroke(root, tip, rng.uniform(0.2, 0.27), skin * rng.uniform(0.93, 1))
        if open_hand:
            canvas.ellipse(float(tip[0]), float(tip[1]), 0.12, 0.16, np.clip(skin * 1.1, 0, 255))
        else:
            canvas.ellipse(across, rng.uniform(-0.15, 0.05), 0.12, 0.12, crease)
        canvas.stroke(root + (0, 0.15), root + (rng.normal(0, 0.05), rng.uniform(0.25, 0.5)), 0.025, crease)
    canvas.stroke(np.array([0.4, 0.5]), np.array([rng.uniform(0.5, 0.95), rng.uniform(-0.2, 0.2)]), 0.25, skin * 0.97)
    canvas.stroke(np.array([-0.35, rng.uniform(0.1, 0.5)]), np.array([0.3, rng.uniform(0.1, 0.5)]), 0.03, crease)


def draw_appliance(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw knobs, dials and flaps on a plate: a stove, a radio, a washing machine, a letter box."""
    canvas.rectangle(0, 0, rng.uniform(1.6, 2.2), rng.uniform(1.6, 2.4), rng.uniform(100, 250) * np.ones(3))
    dark, across, up = _dark(rng), rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.6)
    wide, high = rng.uniform(0.2, 0.5, 2)
    for side in (-1, 1):
        canvas.ellipse(side * across, -up, wide, high, dark)
        if rng.random() < 0.6:
            canvas.ellipse(side * across, -up, wide * 0.5, high * 0.5, rng.uniform(90, 250, 3))
    if rng.random() < 0.4:
        canvas.ellipse(0, 0, 0.2, 0.2, dark)
    below = canvas.ellipse if rng.random() < 0.5 else canvas.rectangle
    below(0, rng.uniform(0.3, 0.7), rng.uniform(0.4, 1.1), rng.uniform(0.1, 0.5), dark)


Drawing = Callable[[Canvas, np.random.Generator], None]
LOOKALIKES: dict[str, Drawing] = {
    "wall": draw_wall, "car": draw_car, "socket": draw_socket, "nose": draw_nose, "hand": draw_hand,
    "appliance": draw_appliance,
}  # fmt: skip


def surface(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a picture (height, width, 3) uint8: a plain ground with uneven light, and grain or bricks."""
    ground = rng.uniform(60, 230) * rng.uniform(0.85, 1.15, 3) * np.ones((height, width, 1))
    y, x = np.mgrid[:height, :width]
    ground *= (
        1 + (rng.uniform(-0.25, 0.25) * (x / width - 0.5) + rng.uniform(-0.25, 0.25) * (y / height - 0.5))[..., None]
    )
    if rng.random() < 0.3:
        brick = max(4, int(height * rng.uniform(0.03, 0.12)))
        joint = (y % brick < max(1, brick // 8)) | ((x + (y // brick % 2) * brick) % (2 * brick) < max(1, brick // 8))
        ground *= np.where(joint, rng.uniform(0.6, 1.3), 1.0)[..., None]
    ground += rng.normal(0, rng.uniform(0, 8), (height, width, 1))
    return np.clip(ground, 0, 255).astype(np.uint8)


def draw_lookalike(pixels: np.ndarray, rng: np.random.Generator, kind: str | None = None) -> None:
    """Draw a lookalike in place, anywhere in an (H, W, 3) uint8 picture, as large as a face may be, and blur the picture.

    Args:
        kind: one of ``LOOKALIKES``; any by default, half of them walls.
    """
    height, width = pixels.shape[:2]
    if kind is None:
        kind = "wall" if rng.random() < 0.5 else str(rng.choice(list(LOOKALIKES)))
    size = min(height, width) * math.exp(rng.uniform(math.log(0.1), math.log(0.5)))
    roll = rng.normal(0, 0.1) if rng.random() < 0.8 else rng.uniform(-math.pi, math.pi)
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
    LOOKALIKES[kind](Canvas(pixels, x, y, size, roll), rng)
    blur = size * rng.uniform(0, 0.12)
    if rng.random() < 0.75 and blur > 0.3:
        cv2.GaussianBlur(pixels, (0, 0), blur, dst=pixels)


def beside(person: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of a person beside something that is no face, larger than theirs.

    Args:
        person: (H, W, 3) uint8, a portrait.
        kind: one of ``LOOKALIKES``.

    Returns:
        (400, W', 3) uint8, and the person's place in it: (4,) left, top, right, bottom in pixels.
    """
    rng = np.random.default_rng(seed)
    height, width = 400, int(rng.integers(280, 420))
    other = surface(rng, height, width)
    size = width * rng.uniform(0.25, 0.45)
    place = Canvas(other, rng.uniform(0.4, 0.6) * width, rng.uniform(0.4, 0.6) * height, size, rng.normal(0, 0.04))
    LOOKALIKES[kind](place, rng)
    cv2.GaussianBlur(other, (0, 0), rng.uniform(1, 10), dst=other)
    wide = int(rng.integers(160, 260))
    high = min(height, round(wide * person.shape[0] / person.shape[1]))
    small = cv2.resize(person, (wide, high), interpolation=cv2.INTER_AREA)
    top = int(rng.integers(0, height - high + 1))
    # What is above and below the portrait continues its border.
    side = np.pad(small, ((top, height - high - top), (0, 0), (0, 0)), mode="edge")
    left = 0 if rng.random() < 0.5 else width
    whole = np.concatenate([side, other] if left == 0 else [other, side], axis=1)
    return whole, np.array([left, top, left + wide, top + high], np.float32)
