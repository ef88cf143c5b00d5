"""Draw frames of a portrait in layers, once it is known where everything comes from and what is painted.

One lookup in the person's own colours, the window's painting on them, and ``alpha * person + (1 - alpha) * plate``. Without
torch: :mod:`.compositing` plans frames from tensors, and the player from what ONNX graphs give.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..face_model.coordinates import Square
from .portrait import Box, PortraitLayers
from .sampling import Texture

# The person goes on beyond the picture's borders by this much, in widths of the face.
BEYOND = 0.6
# What the layers do not explain of the picture is added again where nothing moves, and not from so many pixels on.
STILL = (0.1, 1.0)
# A window that is smaller than this part of what the renderer paints takes means of its pixels first.
ALIASED = 0.7


@dataclass(frozen=True, eq=False)
class Painting:
    """What the window adds, (S, S) float32 in levels of a pixel: keep (S, S), paint (S, S, 3), alpha (S, S)."""

    square: Square
    keep: np.ndarray
    paint: np.ndarray
    alpha: np.ndarray
    empty: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """Where one frame is composed, and from where in the person's colours it comes.

    ``stage`` lies on whole cells of ``cell`` pixels from ``corner`` (left, top) on; both maps hold places in PIXELS.
    """

    rect: Box
    corner: tuple[int, int]
    cell: int
    stage: np.ndarray
    window: np.ndarray
    painting: Painting


class Drawing:
    """Draws one portrait.

    Args:
        layers: the portrait's.
        face: the width of its face in pixels.
    """

    def __init__(self, layers: PortraitLayers, face: float) -> None:
        self._shape = layers.picture.shape[:2]
        #: (H, W, 3) uint8: the whole picture without the person.
        self.plate = layers.picture.copy()
        self.plate[layers.box] = layers.plate
        self._texture = Texture.of(layers, round(BEYOND * face))
        self._unexplained = _Unexplained.of(layers)

    def __call__(self, plan: Plan, behind: np.ndarray | None = None, transparent: bool = False) -> np.ndarray:
        """Compose one frame (H, W, 3) uint8, over another picture ``behind`` (H, W, 3) if there is one; transparent ones
        (H, W, 4)."""
        rect = plan.rect
        places = places_of(plan)
        person, alpha = self._texture.sample(places)
        _paint(person, alpha, plan)
        if transparent:
            frame = np.zeros((*self._shape, 4), np.uint8)
            frame[rect] = cv2.merge([*cv2.split(person), alpha])
            return frame
        if behind is not None:
            frame = behind.copy()
            frame[rect] = blended(person, alpha, behind[rect])
            return frame
        frame = self.plate.copy()
        frame[rect] = blended(person, alpha, self.plate[rect])
        self._unexplained.add_where_still(frame, rect, places)
        return frame


@dataclass(frozen=True, eq=False)
class _Unexplained:
    """What the layers at rest miss of the picture, at few pixels: rows and columns (N,), and levels (N, 3) int16."""

    rows: np.ndarray
    columns: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, layers: PortraitLayers) -> _Unexplained:
        rest = blended(layers.colours, layers.alpha, layers.plate)
        missing = cv2.subtract(layers.picture[layers.box], rest, dtype=cv2.CV_16S)
        rows, columns = np.nonzero(missing.any(2))
        return cls(rows + layers.box[0].start, columns + layers.box[1].start, missing[rows, columns])

    def add_where_still(self, frame: np.ndarray, rect: Box, places: np.ndarray) -> None:
        """Add the pixels that stay where they are; ``places`` (h, w, 2) in PIXELS is where the rectangle's pixels come from."""
        if not len(self.rows):
            return
        there = places[self.rows - rect[0].start, self.columns - rect[1].start]
        away = np.maximum(np.abs(there[:, 0] - self.columns - 0.5), np.abs(there[:, 1] - self.rows - 0.5))
        near = np.flatnonzero(away < STILL[1])
        if not len(near):
            return
        rows, columns = self.rows[near], self.columns[near]
        share = 1 - np.clip((away[near] - STILL[0]) / (STILL[1] - STILL[0]), 0, 1)
        added = frame[rows, columns] + share[:, None] * self.levels[near]
        frame[rows, columns] = np.clip(added + 0.5, 0, 255).astype(np.uint8)


def blended(person: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return the person (h, w, 3) over what is behind, all uint8; exactly one of them where alpha (h, w) is 255 or 0."""
    part = cv2.merge([alpha, alpha, alpha])
    return cv2.add(
        cv2.multiply(person, part, scale=1 / 255), cv2.multiply(behind, cv2.bitwise_not(part), scale=1 / 255)
    )


def places_of(plan: Plan) -> np.ndarray:
    """Return from where each pixel of the rectangle comes: (h, w, 2) float32, in PIXELS."""
    (high, wide), cell = size_of(plan.rect), plan.cell
    # One cell of margin at each side: toward a border, what is enlarged stands still.
    used = plan.stage[: -(-high // cell) + 2, : -(-wide // cell) + 2]
    large = cv2.resize(used, (used.shape[1] * cell, used.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    places = large[cell : cell + high, cell : cell + wide]
    square, size = plan.painting.square, len(plan.window)
    inset = -(-int(square.side) // size)
    inside, part = _overlap(plan.rect, square, inset)
    if inside is not None:
        fine = cv2.resize(plan.window, (int(square.side),) * 2, interpolation=cv2.INTER_LINEAR)
        places[inside] = fine[part]
    return places


def _paint(person: np.ndarray, alpha: np.ndarray, plan: Plan) -> None:
    """Lay the window's painting on the rectangle's person (h, w, 3) and alpha (h, w), in place."""
    painting = plan.painting
    inside, part = _overlap(plan.rect, painting.square, 0)
    if painting.empty or inside is None:
        return
    side = int(painting.square.side)
    keep, paint, change = (
        np.ascontiguousarray(_resized(layer, side)[part]) for layer in (painting.keep, painting.paint, painting.alpha)
    )
    kept = cv2.multiply(person[inside], cv2.merge([keep, keep, keep]), dtype=cv2.CV_32F)
    person[inside] = cv2.add(kept, paint, dtype=cv2.CV_8U)
    alpha[inside] = cv2.add(alpha[inside], change, dtype=cv2.CV_8U)


def _resized(layer: np.ndarray, side: int) -> np.ndarray:
    while side < ALIASED * len(layer):  # halving is fast, and its means are exact
        half = len(layer) // 2
        layer = cv2.resize(layer, (half, half), interpolation=cv2.INTER_AREA)
    return cv2.resize(layer, (side, side), interpolation=cv2.INTER_LINEAR)


def _overlap(rect: Box, square: Square, inset: int) -> tuple[Box | None, Box]:
    """Return where a square, less its rim, lies in a rectangle of the picture, and which part of the square that is."""
    inside, part = [], []
    for span, start in zip(rect, (square.top, square.left), strict=True):
        first = max(span.start, int(start) + inset)
        last = min(span.stop, int(start) + int(square.side) - inset)
        inside.append(slice(first - span.start, last - span.start))
        part.append(slice(first - int(start), last - int(start)))
        if first >= last:
            return None, rect
    return (inside[0], inside[1]), (part[0], part[1])


def size_of(rect: Box) -> tuple[int, int]:
    return rect[0].stop - rect[0].start, rect[1].stop - rect[1].start


__all__ = ["Drawing", "Painting", "Plan", "blended", "places_of", "size_of"]
