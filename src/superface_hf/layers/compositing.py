"""Frames of a portrait in layers: the person moves, at the picture's own resolution, anywhere in it.

For each frame: the analytic flow on a coarse *stage* over everything that shows or showed the person, the renderer's finer flow
in its window, one lookup in the person's own colours, and ``alpha * person + (1 - alpha) * plate``, written into a copy of the
picture. Where neither the picture nor the frame shows the person, the picture stays bit for bit.
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
from .motion import (
    FOLLOWING,
    NECK,
    TORSO,
    HeadMotion,
    MeshMotion,
    PersonMotion,
    Window,
    head_motion,
    head_weight,
)
from .portrait import Box, PortraitLayers
from .rendered import RenderedWindow
from .sampling import Texture

# Cells of the stage along its longer side. Motion is smooth there: what is fine lies in the window.
STAGE = 64
# The renderer's window goes over into the stage over this share of its side.
FEATHER = 0.10
# The person goes on beyond the picture's borders by this much, in widths of the face.
BEYOND = 0.6
# Pixels around the moved person that are composed too.
MARGIN = 4
# What the layers do not explain of the picture is added again where nothing moves, and not from so many pixels on.
STILL = (0.1, 1.0)
# Changes smaller than this, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3
# A window that is smaller than this part of what the renderer paints takes means of its pixels first.
ALIASED = 0.7
# The matte's outline is followed in a picture of this size.
OUTLINE = 192


@dataclass(frozen=True, eq=False)
class _Painting:
    """What the window adds, (S, S) float32 in levels of a pixel: keep (S, S), paint (S, S, 3), alpha (S, S)."""

    square: Square
    keep: np.ndarray
    paint: np.ndarray
    alpha: np.ndarray
    empty: bool


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where one frame is composed, and from where in the person's colours it comes.

    ``stage`` lies on whole cells of ``cell`` pixels from ``corner`` (left, top) on; both maps hold places in PIXELS.
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
        layers: the portrait's.
        crop: the square whose IMAGE coordinates landmarks and windows have.
        landmarks: (478, 3) the portrait's.
        motion: how the person moves around the renderer's windows, if the renderer knows it.
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
        self._outline = _Outline.of(layers, crop, own)
        self._unexplained = _Unexplained.of(layers)

    def __call__(
        self,
        rendered: RenderedWindow,
        driving: Tensor,
        behind: Sequence[np.ndarray] | None = None,
        transparent: bool = False,
    ) -> list[np.ndarray]:
        """Composes B frames.

        Args:
            rendered: what the renderer gave for them.
            driving: (B, 478, 3) landmarks in IMAGE coordinates of the crop.
            behind: other backgrounds, (H, W, 3) uint8 for each frame.
            transparent: gives the person's own colours, and how much of each pixel is theirs.

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
        """(H, W, 3) uint8: the whole picture without the person."""
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
        """The window's flow, which goes over into the stage's at its border; and how much of it is the window's own."""
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
        """IMAGE coordinates (B, 2, s, s) of the crop -> PIXELS, (s, s, 2) each."""
        corner = places.new_tensor([self._crop.left, self._crop.top])[:, None, None]
        pixels = (places + 1) * (self._crop.side / 2) + corner
        return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


@dataclass(frozen=True, eq=False)
class _Outline:
    """Where the person ends: points in IMAGE coordinates, ``head`` (N, 2) and ``torso`` (M, 2), and the layers' box."""

    head: Tensor
    torso: Tensor
    box: Box
    crop: Square

    @classmethod
    def of(cls, layers: PortraitLayers, crop: Square, own: Tensor) -> _Outline:
        rows, columns = layers.box
        scale = min(1.0, OUTLINE / max(layers.alpha.shape))
        size = tuple(max(1, round(n * scale)) for n in layers.alpha.shape[::-1])
        little = cv2.resize(layers.alpha, size, interpolation=cv2.INTER_AREA) > 0
        y, x = np.nonzero(little)
        # The corners of each pixel, as it may be anywhere in it.
        points = np.stack([x, y], axis=1)[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        share = np.array(size)
        pixels = points.reshape(-1, 2) / share * np.array(layers.alpha.shape[::-1]) + [columns.start, rows.start]
        image = (pixels - [crop.left, crop.top]) * (2 / crop.side) - 1
        found = torch.from_numpy(image).float()
        if not len(found):
            return cls(found, found, layers.box, crop)
        head = head_motion(own[None], own[None])
        _, below = head_weight(head, found.T[:, None])
        level = below[0, 0, 0]
        return cls(_hull(found[level < TORSO]), _hull(found[level > NECK]), layers.box, crop)

    def rects(self, head: HeadMotion, driving: Tensor, shape: tuple[int, int]) -> list[Box]:
        """What of the picture shows the person in it, or will in the frame."""
        turned = torch.linalg.inv(head.turn.double()).float()
        points = self.head.to(driving.device)[None] - head.before[:, None]
        heads = torch.einsum("bij,bnj->bni", turned, points) + head.after[:, None]
        follows = FOLLOWING * (head.after - head.before)
        torsos = self.torso.to(driving.device)[None] + follows[:, None]
        moved = torch.cat((heads, torsos, driving[..., :2]), dim=1)
        low, high = moved.amin(1).cpu().double().numpy(), moved.amax(1).cpu().double().numpy()
        rows, columns = self.box
        half, corner = self.crop.side / 2, np.array([self.crop.left, self.crop.top])
        result = []
        for first, last in zip((low + 1) * half + corner, (high + 1) * half + corner, strict=True):
            left, top = np.minimum(np.floor(first) - MARGIN, [columns.start, rows.start])
            right, bottom = np.maximum(np.ceil(last) + MARGIN, [columns.stop, rows.stop])
            across = slice(max(0, int(left)), min(shape[1], int(right)))
            result.append((slice(max(0, int(top)), min(shape[0], int(bottom))), across))
        return result


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
        """``places`` (h, w, 2) in PIXELS from where the rectangle's pixels come."""
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
    """The person (h, w, 3) over what is behind, all uint8; exactly one of them where alpha (h, w) is 255 or 0."""
    part = cv2.merge([alpha, alpha, alpha])
    return cv2.add(
        cv2.multiply(person, part, scale=1 / 255), cv2.multiply(behind, cv2.bitwise_not(part), scale=1 / 255)
    )


def _places(plan: _Plan) -> np.ndarray:
    """(h, w, 2) float32, in PIXELS: from where each pixel of the rectangle comes."""
    (high, wide), cell = _size(plan.rect), plan.cell
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


def _paint(person: np.ndarray, alpha: np.ndarray, plan: _Plan) -> None:
    """Lays the window's painting on the rectangle's person (h, w, 3) and alpha (h, w), in place."""
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
    """Where a square, less its rim, lies in a rectangle of the picture, and which part of the square that is."""
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


def _hull(points: Tensor) -> Tensor:
    return torch.from_numpy(cv2.convexHull(points.numpy())[:, 0]) if len(points) else points


def _feather(size: int, like: Tensor) -> Tensor:
    """(1, 1, size, size): 1 inside a window, smoothly to 0 at its border."""
    edge = smoothstep(1 - pixel_centers(size, like).abs(), 0.0, 2 * FEATHER)
    return (edge[:, None] * edge)[None, None]


__all__ = ["Compositor", "blended"]
