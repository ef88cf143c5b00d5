"""Draw a student's frames from its maps, as the compositor draws a teacher's. Without torch: players use it too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np

from ...face_model.coordinates import Square
from ...layers.drawing import ALIASED, Drawing, Painting, Plan
from ...layers.portrait import PortraitLayers

PATCHES = ("left_eye", "right_eye", "mouth")
#: What a student gives for each frame; the manifest of an exported student says what each means.
MAPS = ("window", "rect", "stage_square", "stage", "flow", "paint", "matte", "corners",
        *(f"{name}_{part}" for name in PATCHES for part in ("flow", "paint", "matte")))  # fmt: skip
# Changes smaller than this, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3

Maps = Mapping[str, np.ndarray]  # of one frame


class StudentPicture:
    """A student's picture and layers, and where in it a frame is drawn.

    Args:
        layers: those of its portrait.
        size: the side of the student's windows, ``config.image_size``.
        face: the width of the portrait's face in pixels.
    """

    def __init__(self, layers: PortraitLayers, size: int, face: float) -> None:
        self._size, self._draw = size, Drawing(layers, face)

    @property
    def plate(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole picture without the person."""
        return self._draw.plate

    def frame(self, outputs: Maps, behind: np.ndarray | None = None, transparent: bool = False) -> np.ndarray:
        """One frame, see :meth:`Drawing.__call__`."""
        left, top, right, bottom = (int(edge) for edge in outputs["rect"])
        x, y, cell = (int(value) for value in outputs["stage_square"])
        square = Square(*(int(value) for value in outputs["window"]))
        cells = len(outputs["stage"])
        stage = outputs["stage"] + _middles(cells) * np.float32(cells * cell) + np.array([x, y], np.float32)
        rect = (slice(top, bottom), slice(left, right))
        plan = Plan(rect, (x, y), cell, stage, self._flow(outputs, square), self._painting(outputs, square))
        return self._draw(plan, behind, transparent)

    def _flow(self, outputs: Maps, square: Square) -> np.ndarray:
        """(S/2, S/2, 2) places in PIXELS."""
        size = self._size // 2
        flow = cv2.resize(outputs["flow"], (size, size), interpolation=cv2.INTER_LINEAR)
        for name, (column, row) in zip(PATCHES, outputs["corners"].astype(int), strict=True):
            patch = outputs[f"{name}_flow"]
            flow[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
        return flow + _middles(size) * np.float32(square.side) + np.array([square.left, square.top], np.float32)

    def _painting(self, outputs: Maps, square: Square) -> Painting:
        parts = [_kept_and_added(outputs["paint"], outputs["matte"])]
        parts += [_kept_and_added(outputs[f"{name}_paint"], outputs[f"{name}_matte"]) for name in PATCHES]
        if max(cv2.norm(added, cv2.NORM_INF) / 255 for _, added in parts) < UNPAINTED and all(
            abs(kept - 1).max() < UNPAINTED for kept, _ in parts
        ):
            return Painting(square)
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
                layer[row : row + height, column : column + width] = small
        return Painting(square, *layers)


def _kept_and_added(paint: np.ndarray, matte: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 4) and (h, w, 1) of the graph -> keep (h, w), and what is added (h, w, 4) in levels of a pixel."""
    added = np.empty_like(paint)
    cv2.mixChannels([paint, matte], [added], [1, 0, 2, 1, 3, 2, 4, 3])
    added *= 255
    return cv2.extractChannel(paint, 0), added


@lru_cache
def _middles(size: int) -> np.ndarray:
    """(size, size, 2): the middles of the cells of a square from 0 to 1, x and y."""
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(middles, middles), axis=-1)
