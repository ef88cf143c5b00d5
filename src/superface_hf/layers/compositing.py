"""Compose frames of a portrait from its layers, at the picture's own resolution, anywhere in the picture.

For each frame, the analytic flow is computed on a coarse grid, the *stage*, which covers the person in the picture and
in the frame. In the renderer's window its finer flow replaces it. The person's colours are sampled once along this
flow, and ``alpha * person + (1 - alpha) * plate`` is written into a copy of the picture. Pixels that show the person
neither in the picture nor in the frame stay bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model.coordinates import Square
from ..face_model.mesh_flow import pixel_centers
from ..utils.easing import smoothstep
from .motion import MeshMotion, PersonMotion, Window
from .outline import Outline
from .portrait import Box, PortraitLayers
from .rendered import RenderedWindow
from .sampling import Texture

# Cells of the stage along its longer side. Its motion is smooth; fine motion lies in the window.
STAGE = 64
# The renderer's window blends into the stage over this share of its side.
FEATHER = 0.10
# The texture is continued beyond the picture's borders by this much, in widths of the face.
BEYOND = 0.6
# The difference between the picture and its layers is added where pixels move less than the first number, and fades to
# zero at the second (pixels).
STILL = (0.1, 1.0)
# Smaller changes, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3
# A painting is halved by averaging before it is resized to less than this share of its size.
ALIASED = 0.7


@dataclass(frozen=True, eq=False)
class _Painting:
    """The changes that the renderer paints in its window, in levels of a pixel: keep (S, S), paint (S, S, 3), alpha (S,
    S), all float32."""

    square: Square
    keep: np.ndarray
    paint: np.ndarray
    alpha: np.ndarray
    empty: bool


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where one frame is composed, and which source pixels it shows.

    ``stage`` has cells of ``cell`` whole pixels, from ``corner`` (left, top) on. ``stage`` and ``window`` hold source
    positions in PIXELS.
    """

    rect: Box
    corner: tuple[int, int]
    cell: int
    stage: np.ndarray
    window: np.ndarray
    painting: _Painting


class Compositor:
    """Composes frames of one portrait.

    Args:
        layers: the portrait's layers.
        crop: the square of the IMAGE coordinates of landmarks and windows.
        landmarks: (478, 3) the portrait's landmarks.
        motion: the person's motion around the renderer's windows, if the renderer provides it.
    """

    def __init__(
        self, layers: PortraitLayers, crop: Square, landmarks: np.ndarray, motion: PersonMotion | None = None
    ) -> None:
        self._crop = crop
        own = torch.from_numpy(landmarks).float()
        self._motion = motion or MeshMotion(own)
        height, width = layers.picture.shape[:2]
        self._shape = (height, width)
        self._behind = layers.picture.copy()
        self._behind[layers.box] = layers.plate
        face = float(np.ptp(landmarks[:, 0])) * crop.side / 2
        self._texture = Texture.of(layers, round(BEYOND * face))
        self._outline = Outline.of(layers, crop, own)
        self._unexplained = _Unexplained.of(layers)

    def __call__(
        self,
        rendered: RenderedWindow,
        driving: Tensor,
        behind: Sequence[np.ndarray] | None = None,
        transparent: bool = False,
    ) -> list[np.ndarray]:
        """Compose B frames.

        Args:
            rendered: the renderer's output for them.
            driving: (B, 478, 3) landmarks in IMAGE coordinates of the crop.
            behind: other backgrounds, (H, W, 3) uint8 for each frame.
            transparent: whether to return the person's own colours with their alpha instead.

        Returns:
            (H, W, 3) uint8 each; transparent ones (H, W, 4), colours not multiplied by alpha.
        """
        plans = self._plans(rendered, driving)
        return [
            self._compose(plan, None if behind is None else behind[index], transparent)
            for index, plan in enumerate(plans)
        ]

    @property
    def plate(self) -> np.ndarray:
        """The whole picture without the person, (H, W, 3) uint8."""
        return self._behind

    def _compose(self, plan: _Plan, behind: np.ndarray | None, transparent: bool) -> np.ndarray:
        rect = plan.rect
        places = _places(plan)
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
        frame = self._behind.copy()
        frame[rect] = blended(person, alpha, self._behind[rect])
        self._unexplained.add_where_still(frame, rect, places)
        return frame

    def _plans(self, rendered: RenderedWindow, driving: Tensor) -> list[_Plan]:
        driving = driving.detach().float()
        head = self._motion.head(driving, Window.same(driving))
        rects = self._outline.rects(head, driving, self._shape)
        cells = [max(1, -(-max(_size(rect)) // (STAGE - 2))) for rect in rects]
        corners = [(rect[1].start - cell, rect[0].start - cell) for rect, cell in zip(rects, cells, strict=True)]
        squares = [Square(*corner, STAGE * cell) for corner, cell in zip(corners, cells, strict=True)]
        stage = Window.of_squares(self._crop, squares, driving)
        flow = self._motion.flow(stage.enter(driving), stage, STAGE)
        inside, feather = self._feathered(rendered, stage, flow)
        stages, windows = self._pixels(stage.places(flow)), self._pixels(rendered.window.places(inside))
        paintings = self._paintings(rendered, feather)
        return [_Plan(*parts) for parts in zip(rects, corners, cells, stages, windows, paintings, strict=True)]

    def _feathered(self, rendered: RenderedWindow, stage: Window, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Return the window's flow, blended into the stage's at its border, and the weights of the blend."""
        window, fine = rendered.window, rendered.flow.detach().float()
        size = fine.shape[-1]
        here = window.places(torch.zeros_like(fine)).permute(0, 2, 3, 1)
        grid = (here - stage.centre[:, None, None]) / stage.scale[:, None, None, None]
        around = F.grid_sample(flow, grid, padding_mode="border", align_corners=False)
        around = around * (stage.scale / window.scale)[:, None, None, None]
        return torch.lerp(around, fine, _feather(size, fine)), _feather(rendered.keep.shape[-1], fine)

    def _paintings(self, rendered: RenderedWindow, feather: Tensor) -> list[_Painting]:
        keep = 1 + feather * (rendered.keep.detach().float() - 1)
        paint = feather * rendered.paint.detach().float()
        change = feather * rendered.alpha_change.detach().float()
        strength = torch.stack([part.abs().amax((1, 2, 3)) for part in (keep - 1, paint, change)]).amax(0)
        empty = (strength < UNPAINTED).tolist()
        return [
            _Painting(square, k[0], p, a[0], nothing)
            for square, k, p, a, nothing in zip(
                rendered.window.squares(self._crop),
                keep.cpu().numpy(),
                (255 * paint).permute(0, 2, 3, 1).contiguous().cpu().numpy(),
                (255 * change).cpu().numpy(),
                empty,
                strict=True,
            )
        ]

    def _pixels(self, places: Tensor) -> list[np.ndarray]:
        """Convert IMAGE coordinates (B, 2, s, s) of the crop to PIXELS, (s, s, 2) each."""
        corner = places.new_tensor([self._crop.left, self._crop.top])[:, None, None]
        pixels = (places + 1) * (self._crop.side / 2) + corner
        return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


@dataclass(frozen=True, eq=False)
class _Unexplained:
    """The difference of the picture from its composed layers, at few pixels: rows and columns (N,), and levels (N, 3)
    int16."""

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
        """Add the difference to a frame where nothing moves; ``places`` (h, w, 2) are the source PIXELS of the rectangle."""
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
    """Blend the person (h, w, 3) over the background, all uint8; exactly one of them where alpha (h, w) is 255 or 0."""
    part = cv2.merge([alpha, alpha, alpha])
    return cv2.add(
        cv2.multiply(person, part, scale=1 / 255), cv2.multiply(behind, cv2.bitwise_not(part), scale=1 / 255)
    )


def _places(plan: _Plan) -> np.ndarray:
    """Return the source position (h, w, 2) float32, in PIXELS, of each pixel of the rectangle."""
    (high, wide), cell = _size(plan.rect), plan.cell
    # One cell of margin at each side, because enlarging repeats the border.
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


def _paint(person: np.ndarray, alpha: np.ndarray, plan: _Plan) -> None:
    """Apply the window's painting to the rectangle's person (h, w, 3) and alpha (h, w), in place."""
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
    while side < ALIASED * len(layer):  # halving is fast, and its averages are exact
        half = len(layer) // 2
        layer = cv2.resize(layer, (half, half), interpolation=cv2.INTER_AREA)
    return cv2.resize(layer, (side, side), interpolation=cv2.INTER_LINEAR)


def _overlap(rect: Box, square: Square, inset: int) -> tuple[Box | None, Box]:
    """Return where a square without its rim lies in a rectangle of the picture, and which part of the square that is."""
    inside, part = [], []
    for span, start in zip(rect, (square.top, square.left), strict=True):
        first = max(span.start, int(start) + inset)
        last = min(span.stop, int(start) + int(square.side) - inset)
        inside.append(slice(first - span.start, last - span.start))
        part.append(slice(first - int(start), last - int(start)))
        if first >= last:
            return None, rect
    return (inside[0], inside[1]), (part[0], part[1])


def _size(rect: Box) -> tuple[int, int]:
    return rect[0].stop - rect[0].start, rect[1].stop - rect[1].start


def _feather(size: int, like: Tensor) -> Tensor:
    """Return weights (1, 1, size, size): 1 inside a window, smoothly 0 at its border."""
    edge = smoothstep(1 - pixel_centers(size, like).abs(), 0.0, 2 * FEATHER)
    return (edge[:, None] * edge)[None, None]


__all__ = ["Compositor", "blended"]
