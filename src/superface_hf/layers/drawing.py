"""Draw frames of a portrait in layers, once it is known where everything comes from and what is painted.

One lookup in the person's own colours, the window's painting on them, and ``alpha * person + (1 - alpha) * plate``. Without
torch: :mod:`.compositing` plans frames from tensors, and the player from what ONNX graphs give.
"""

from __future__ import annotations

from collections.abc import Iterator
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
# A frame is drawn in bands of about so many pixels: what is computed of one stays in a core's cache. And OpenCV shares larger
# arrays among threads, which other frames need.
BAND = 32_768
# The person is at rest where it moves by less than this, in pixels: half of what sampling tells apart in a doubled texture.
REST = 1 / 128


@dataclass(frozen=True, eq=False)
class Painting:
    """What the window does to the person, float32: the factor of their colours, (S, S), and what is added to colours and alpha,
    (S, S, 4), in levels of a pixel. Both are None where nothing changes."""

    square: Square
    keep: np.ndarray | None = None
    added: np.ndarray | None = None


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
        self._picture = layers.picture
        #: (H, W, 3) uint8: the whole picture without the person.
        self.plate = layers.picture.copy()
        self.plate[layers.box] = layers.plate
        self._texture = Texture.of(layers, round(BEYOND * face))
        self._unexplained = _Unexplained(layers, self._texture)

    def __call__(self, plan: Plan, behind: np.ndarray | None = None, transparent: bool = False) -> np.ndarray:
        """Compose one frame (H, W, 3) uint8, over another picture ``behind`` (H, W, 3) if there is one; transparent ones
        (H, W, 4)."""
        beneath = self.plate if behind is None else behind
        frame = np.zeros((*beneath.shape[:2], 4), np.uint8) if transparent else beneath.copy()
        window, plain = _Window.of(plan, self._texture), behind is None and not transparent
        come = self._unexplained.nowhere()
        for band in _bands(plan, self._texture):
            box = band.box
            if plain and band.still and not window.touches(box):
                frame[box] = self._picture[box]
                continue
            there = window.with_flow(band.there(plan.cell), box)
            found = window.painted(self._texture.sample(there), box)
            if transparent:
                frame[box] = found
                continue
            frame[box] = blended(cv2.cvtColor(found, cv2.COLOR_RGBA2RGB), cv2.extractChannel(found, 3), beneath[box])
            if plain:
                self._unexplained.look(come, there, box)
        if plain:
            self._unexplained.add_where_still(frame, come)
        return frame


@dataclass(frozen=True, eq=False)
class _Band:
    """Some rows of a frame's rectangle, on whole rows of the stage's cells, and where they come from in the texture.

    ``cells`` (n, m, 2) has one cell of margin at each side; ``still`` says whether nothing moves there.
    """

    box: Box
    cells: np.ndarray
    still: bool

    def there(self, cell: int) -> np.ndarray:
        """(h, w, 2) float32, in the texture: from where each pixel comes."""
        rows, columns = self.cells.shape[:2]
        large = cv2.resize(self.cells, (columns * cell, rows * cell), interpolation=cv2.INTER_LINEAR)
        high, wide = size_of(self.box)
        return large[cell : cell + high, cell : cell + wide]


def _bands(plan: Plan, texture: Texture) -> Iterator[_Band]:
    (high, wide), cell, (rows, columns) = size_of(plan.rect), plan.cell, plan.rect
    # Toward a border of the stage, what is enlarged stands still: a margin of one cell is used at each side.
    used = plan.stage[: -(-high // cell) + 2, : -(-wide // cell) + 2]
    middles = (np.arange(max(used.shape[:2]), dtype=np.float32) + 0.5) * cell
    away = np.maximum(
        np.abs(used[..., 0] - middles[: used.shape[1]] - plan.corner[0]).max(1),
        np.abs(used[..., 1] - middles[: used.shape[0], None] - plan.corner[1]).max(1),
    )
    entered, count = texture.entered(used), max(1, BAND // (wide * cell))
    for first in range(0, len(used) - 2, count):
        part = slice(first, first + count + 2)
        start = rows.start + first * cell
        box = slice(start, min(rows.stop, start + count * cell)), columns
        yield _Band(box, entered[part], bool(away[part].max() < REST))


@dataclass(frozen=True, eq=False)
class _Window:
    """The renderer's window at the picture's resolution: where it comes from in the texture, (S, S, 2), and its painting.

    The outermost ``inset`` pixels keep the stage's flow.
    """

    square: Square
    inset: int
    there: np.ndarray
    keep: np.ndarray | None
    added: np.ndarray | None

    @classmethod
    def of(cls, plan: Plan, texture: Texture) -> _Window:
        painting, square = plan.painting, plan.painting.square
        side, inset = int(square.side), -(-int(square.side) // len(plan.window))
        there = cv2.resize(texture.entered(plan.window), (side, side), interpolation=cv2.INTER_LINEAR)
        keep, added = (None if each is None else _resized(each, side) for each in (painting.keep, painting.added))
        return cls(square, inset, there, keep, added)

    def touches(self, box: Box) -> bool:
        return _overlap(box, self.square, 0)[0] is not None

    def with_flow(self, there: np.ndarray, box: Box) -> np.ndarray:
        """Return ``there`` (h, w, 2) of a box, with this window's in its place."""
        inside, part = _overlap(box, self.square, self.inset)
        if inside is not None:
            there[inside] = self.there[part]
        return there

    def painted(self, person: np.ndarray, box: Box) -> np.ndarray:
        """Return the person (h, w, 4) of a box, painted."""
        inside, part = _overlap(box, self.square, 0)
        if inside is not None and self.keep is not None and self.added is not None:
            keep = self.keep[part]
            every = cv2.merge([keep, keep, keep, np.ones_like(keep)])
            kept = cv2.multiply(person[inside], every, dtype=cv2.CV_32F)
            person[inside] = cv2.add(kept, self.added[part], dtype=cv2.CV_8U)
        return person


class _Unexplained:
    """What the layers at rest miss of the picture, at N pixels.

    Attributes:
        places: (N,) where they lie in the picture, row by row.
    """

    def __init__(self, layers: PortraitLayers, texture: Texture) -> None:
        rest = blended(layers.colours, layers.alpha, layers.plate)
        missing = cv2.subtract(layers.picture[layers.box], rest, dtype=cv2.CV_16S)
        rows, columns = np.nonzero(missing.any(2))
        self._levels = missing[rows, columns].astype(np.float32)
        rows, columns = rows + layers.box[0].start, columns + layers.box[1].start
        self._rows, self._columns = rows, columns
        self.places = rows * layers.picture.shape[1] + columns
        middles = np.stack([columns, rows], axis=1).astype(np.float32) + np.float32(0.5)
        self._middles, self._fineness = texture.entered(middles[:, None])[:, 0], np.float32(texture.fineness)

    def nowhere(self) -> np.ndarray:
        """(N, 2): from where the pixels come, before that is known."""
        return np.full((len(self.places), 2), np.inf, np.float32)

    def look(self, come: np.ndarray, there: np.ndarray, box: Box) -> None:
        """Note in ``come`` what ``there`` (h, w, 2) says of a box, both in the texture."""
        first, last = np.searchsorted(self._rows, (box[0].start, box[0].stop))
        width = there.shape[1]
        own = (self._rows[first:last] - box[0].start) * width + self._columns[first:last] - box[1].start
        # A place of two floats is moved as one number.
        flat = np.ascontiguousarray(there).reshape(-1, 2).view(np.complex64)[:, 0]
        come[first:last] = flat.take(own).view(np.float32).reshape(-1, 2)

    def add_where_still(self, frame: np.ndarray, come: np.ndarray) -> None:
        away = np.abs(come - self._middles)
        away = np.maximum(away[:, 0], away[:, 1]) / self._fineness
        near = np.flatnonzero(away < STILL[1])
        share = 1 - np.clip((away[near] - STILL[0]) / (STILL[1] - STILL[0]), 0, 1)
        pixels, places = frame.reshape(-1, 3), self.places[near]
        added = pixels.take(places, axis=0) + share[:, None] * self._levels.take(near, axis=0)
        pixels[places] = np.clip(added + np.float32(0.5), 0, 255).astype(np.uint8)


def blended(person: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return the person (h, w, 3) over what is behind, all uint8; exactly one of them where alpha (h, w) is 255 or 0."""
    part = cv2.merge([alpha, alpha, alpha])
    return cv2.add(
        cv2.multiply(person, part, scale=1 / 255), cv2.multiply(behind, cv2.bitwise_not(part), scale=1 / 255)
    )


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


__all__ = ["Drawing", "Painting", "Plan", "blended", "size_of"]
