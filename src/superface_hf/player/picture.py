"""Draw what a student's graph gives, as the compositor does with torch."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ..face_model.coordinates import Square
from ..layers.drawing import ALIASED, Drawing, Painting, Plan
from ..models.student.stored_layers import LayerFiles
from .folder import RuntimeFolder

# Changes smaller than this, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3

Outputs = dict[str, np.ndarray]  # of one frame


class StudentPicture:
    """A student's picture and layers, and where in it a frame is drawn.

    Raises:
        HubError: the layers cannot be read.
    """

    def __init__(self, folder: RuntimeFolder) -> None:
        about = folder.about
        layers = LayerFiles(**folder.layers()).decoded()
        self._size, self._patches = int(about["image_size"]), tuple(about["patches"])
        self._draw = Drawing(layers, float(about["face_width"]))

    def frame(self, outputs: Outputs) -> np.ndarray:
        """(H, W, 3) uint8."""
        left, top, right, bottom = (int(edge) for edge in outputs["rect"])
        x, y, cell = (int(value) for value in outputs["stage_square"])
        square = Square(*(int(value) for value in outputs["window"]))
        cells = len(outputs["stage"])
        stage = outputs["stage"] + _middles(cells) * np.float32(cells * cell) + np.array([x, y], np.float32)
        rect = (slice(top, bottom), slice(left, right))
        return self._draw(Plan(rect, (x, y), cell, stage, self._flow(outputs, square), self._painting(outputs, square)))

    def _flow(self, outputs: Outputs, square: Square) -> np.ndarray:
        """Return places (S/2, S/2, 2) in PIXELS."""
        size = self._size // 2
        flow = cv2.resize(outputs["flow"], (size, size), interpolation=cv2.INTER_LINEAR)
        for name, (column, row) in zip(self._patches, outputs["corners"].astype(int), strict=True):
            patch = outputs[f"{name}_flow"]
            flow[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
        return flow + _middles(size) * np.float32(square.side) + np.array([square.left, square.top], np.float32)

    def _painting(self, outputs: Outputs, square: Square) -> Painting:
        parts = [(outputs["paint"], outputs["matte"])]
        parts += [(outputs[f"{name}_paint"], outputs[f"{name}_matte"]) for name in self._patches]
        if max(_strength(*part) for part in parts) < UNPAINTED:
            return Painting(square, *_NOTHING, empty=True)
        # A small window is painted on as few cells as it needs; further halving is left to the drawing.
        size = self._size
        while square.side < ALIASED * size and size > self._size // 4:
            size //= 2
        layers = [cv2.resize(layer, (size, size), interpolation=cv2.INTER_LINEAR) for layer in parts[0]]
        for corner, patch in zip(outputs["corners"], parts[1:], strict=True):
            column, row = (2 * corner * size / self._size).astype(int)
            for layer, part in zip(layers, patch, strict=True):
                height, width = (side * size // self._size for side in part.shape[:2])
                small = part if size == self._size else cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
                layer[row : row + height, column : column + width] = small.reshape(height, width, *layer.shape[2:])
        paint, matte = layers
        keep = np.ascontiguousarray(paint[..., 0])
        return Painting(square, keep, 255 * paint[..., 1:], 255 * matte, empty=False)


_NOTHING = (np.zeros((1, 1), np.float32),) * 3


def _strength(paint: np.ndarray, matte: np.ndarray) -> float:
    """Return how much anything is changed at most."""
    low, high = paint.reshape(-1, 4).min(0), paint.reshape(-1, 4).max(0)
    low[0], high[0] = low[0] - 1, high[0] - 1
    return float(max(-low.min(), high.max(), np.abs(matte).max()))


@lru_cache
def _middles(size: int) -> np.ndarray:
    """Return (size, size, 2): the middles of the cells of a square from 0 to 1, x and y."""
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(middles, middles), axis=-1)
