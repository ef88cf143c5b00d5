"""Windows around mouth and eyes, with the position of lids and lips in them.

Lids and lips are a few hundred pixels that everybody looks at. They get a finer flow and finer painting than the rest of the
picture, in windows of fixed size that follow the driving mesh. As in ``face_model.seams``, either edge of an opening moves with
its own skin, and teeth stay with the skull; here only the displacement of the edge itself is computed, and the network learns
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...face_model.seams import PAST, REACH, SEAMS
from ...face_model.topology import EYE_CORNERS, LEFT_IRIS, RIGHT_IRIS
from ...utils.easing import smoothstep

# Widths and heights of the windows, in 64ths of the picture's side. The lips of a face at rest are 11 wide, its eyes 7;
# the mouth's window also contains the folds around it, and a dropped jaw.
LEFT_EYE_WINDOW, RIGHT_EYE_WINDOW, MOUTH_WINDOW = (12, 8), (12, 8), (20, 16)
SIZES = (LEFT_EYE_WINDOW, RIGHT_EYE_WINDOW, MOUTH_WINDOW)
# Positions in a window are also drawn relative to these points: the irises, and the skin under the nose, which moves with the
# upper teeth.
ANCHORS = (int(LEFT_IRIS[0]), int(RIGHT_IRIS[0]), 2)
DRAWN_CHANNELS = 8
FEATHER = 0.2  # share of a window, at each end, over which it fades out


@dataclass(frozen=True, eq=False)
class SeamWindow:
    """One window in each frame of a batch, on the grid of half the picture's resolution.

    Attributes:
        corners: for each frame the first column and row.
        grid: (B, h, w, 2) centres of the cells in image coordinates.
        drawn: (B, 8, h, w) the position of each cell: along the seam, from either edge, inside, beside, and from the anchor.
        flow: (B, 2, h, w) the displacement of the nearer edge, and of the teeth inside a mouth.
        beside: (B, 1, h, w) in [0, 1]: 1 on the skin next to the seam, and inside a mouth.
    """

    corners: list[tuple[int, int]]
    grid: Tensor
    drawn: Tensor
    flow: Tensor
    beside: Tensor

    @classmethod
    def around(cls, source: Tensor, driving: Tensor, index: int, size: int) -> SeamWindow:
        """Return the window of seam ``index`` for landmarks (B, 478, 3) float32, source and driving; ``size`` is that
        of the whole grid."""
        points, (width, height) = _points(index, driving.device), (side * size // 64 for side in SIZES[index])
        plane = driving[..., :2]
        edges = plane[:, points.edges]
        middle = ((edges.amin(1) + edges.amax(1)) / 2 + 1) * (size / 2)
        extent = middle.new_tensor((width, height))
        # Corners lie on even cells: four pixels of the picture, one cell of the painters.
        corner = ((middle - extent / 2) / 2).round().clamp_min(0).minimum((size - extent) / 2) * 2
        columns = (corner[:, :1] + torch.arange(width, device=plane.device) + 0.5) * (2 / size) - 1
        rows = (corner[:, 1:] + torch.arange(height, device=plane.device) + 0.5) * (2 / size) - 1
        grid = torch.stack((columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)), dim=-1)
        shifts = (source - driving)[..., :2]
        corners = [(int(x), int(y)) for x, y in corner.tolist()]
        return cls(corners, grid, *_draw(grid, plane, shifts, points, 2 / size))

    def cut(self, maps: Tensor, scale: int = 1) -> Tensor:
        """Crop maps (B, C, size * scale, size * scale) to the window: (B, C, h * scale, w * scale)."""
        if torch.jit.is_tracing():
            cells, height, width = self._cells(maps, scale)
            return maps.flatten(2).gather(2, cells).reshape(maps.shape[0], maps.shape[1], height, width)
        height, width = (side * scale for side in self.drawn.shape[2:])
        return torch.stack(
            [
                part[:, scale * y : scale * y + height, scale * x : scale * x + width]
                for part, (x, y) in zip(maps, self.corners, strict=True)
            ]
        )

    def put(self, maps: Tensor, part: Tensor, scale: int = 1) -> None:
        """Write ``part`` into ``maps`` in place; for shapes see :meth:`cut`."""
        if torch.jit.is_tracing():
            cells, _, _ = self._cells(maps, scale)
            maps.copy_(maps.flatten(2).scatter(2, cells, part.flatten(2)).reshape(maps.shape))
            return
        height, width = part.shape[2:]
        for index, (x, y) in enumerate(self.corners):
            maps[index, :, scale * y : scale * y + height, scale * x : scale * x + width] = part[index]

    def _cells(self, maps: Tensor, scale: int) -> tuple[Tensor, int, int]:
        """Return the indices (B, C, h w) of the window's cells in a flattened map, and h and w. Exported graphs need
        the corners as tensors, because a tracer takes numbers for constants."""
        height, width = (side * scale for side in self.drawn.shape[2:])
        size = maps.shape[-1]
        # The grid's first cell is the corner.
        corner = ((self.grid[:, 0, 0] + 1) * (size // scale) / 2 - 0.5).round().long() * scale
        rows, columns = corner[:, 1:] + torch.arange(height), corner[:, :1] + torch.arange(width)
        cells = (rows[:, :, None] * size + columns[:, None]).flatten(1)
        return cells[:, None].expand(-1, maps.shape[1], -1), height, width


class _SeamPoints(NamedTuple):
    """Indices of a seam's points as tensors, which index faster than arrays."""

    edges: Tensor
    upper: Tensor
    lower: Tensor
    above: Tensor
    below: Tensor
    anchor: Tensor
    shut: float
    teeth: bool


@lru_cache
@torch.inference_mode(False)  # see feather
def _points(index: int, device: torch.device) -> _SeamPoints:
    seam = SEAMS[index]
    parts = (np.concatenate([seam.upper, seam.lower]), seam.upper, seam.lower, seam.above, seam.below, [ANCHORS[index]])
    edges, upper, lower, above, below, anchor = (torch.as_tensor(np.asarray(part), device=device) for part in parts)
    return _SeamPoints(edges, upper, lower, above, below, anchor, seam.shut, seam.shows_teeth)


def _draw(grid: Tensor, plane: Tensor, shifts: Tensor, seam: _SeamPoints, cell: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a window, see :class:`SeamWindow`: (B, 8, h, w), (B, 2, h, w), (B, 1, h, w)."""
    batch, height, width, _ = grid.shape
    upper, lower = plane[:, seam.upper], plane[:, seam.lower]
    first, axis = upper[:, :1], upper[:, -1] - upper[:, 0]
    length = axis.norm(dim=-1).clamp_min(1e-3)[:, None]
    axis = axis / length
    normal = torch.stack((-axis[:, 1], axis[:, 0]), dim=-1)
    # Tracked edges may cross slightly, which must not flip the window: the skin around tells up from down.
    down = plane[:, seam.below].mean(1) - plane[:, seam.above].mean(1)
    normal = normal * (down * normal).sum(-1, keepdim=True).sign()
    frame = torch.stack((axis, normal), dim=-1) / length[..., None]  # (B, 2, 2)
    places = (grid.flatten(1, 2) - first) @ frame  # (B, h w, 2): along, across, in lengths
    along, across = places.unbind(-1)
    above, below = (
        _along_edge((edge - first) @ frame, shifts[:, points], along)
        for edge, points in ((upper, seam.upper), (lower, seam.lower))
    )
    top, bottom = torch.minimum(above[..., 0], below[..., 0]), torch.maximum(above[..., 0], below[..., 0])
    cell = cell / length
    gap = (bottom - top).amax(1, keepdim=True)
    half = (gap / seam.shut - 1).clamp(0, 1) * (bottom - top) / 2
    middle = (top + bottom) / 2
    within = (along > 0) & (along < 1)
    inside = torch.sigmoid(2 * (half - (across - middle).abs()) / cell) * (2 * half / cell).clamp(0, 1) * within
    outwards = torch.maximum(top - across, across - bottom).clamp_min(0)
    past = torch.maximum(-along, along - 1).clamp_min(0)
    beside = _falling(outwards / REACH) * _falling(past / PAST) * (1 - inside)
    side = torch.sigmoid(2 * (across - middle) / cell)[..., None]
    flow = torch.lerp(above[..., 1:], below[..., 1:], side)
    off = torch.tanh(3 * ((grid.flatten(1, 2) - plane[:, seam.anchor]) @ frame))
    drawn = torch.stack(
        (
            (2 * along - 1).clamp(-2, 2),
            torch.tanh(4 * (across - top)),
            torch.tanh(4 * (bottom - across)),
            torch.tanh(20 * (across - middle)),
            inside,
            beside,
            *off.unbind(-1),
        ),
        dim=1,
    )
    maps = (drawn, flow.transpose(1, 2), beside[:, None])
    drawn, flow, beside = (x.reshape(batch, -1, height, width) for x in maps)
    if seam.teeth:
        opened = drawn[:, 4:5]
        # Lips up to their rim, as in the layers.
        flow = torch.lerp(flow, _teeth(grid, plane, shifts, seam.anchor), smoothstep(opened, 0.5, 1.0))
        beside = beside + opened
    return drawn, flow, beside


def _teeth(grid: Tensor, plane: Tensor, shifts: Tensor, anchor: Tensor) -> Tensor:
    """Return the displacement (B, 2, h, w) of upper teeth: they move with the skin under the nose, and turn and grow with the
    line between the eyes."""
    first, last = int(EYE_CORNERS[0]), int(EYE_CORNERS[3])
    now = plane[:, last] - plane[:, first]
    before = now + shifts[:, last] - shifts[:, first]
    length = now.square().sum(-1).clamp_min(1e-8)
    along = (now * before).sum(-1) / length
    across = (now[:, 0] * before[:, 1] - now[:, 1] * before[:, 0]) / length
    away = grid - plane[:, anchor][:, None]
    x, y = away.unbind(-1)
    along, across = along[:, None, None] - 1, across[:, None, None]
    turned = torch.stack((along * x - across * y, across * x + along * y), dim=1)
    return turned + shifts[:, anchor].transpose(1, 2)[..., None]


def _along_edge(knots: Tensor, shifts: Tensor, along: Tensor) -> Tensor:
    """Interpolate height and displacement of an edge (B, N, 2), (B, N, 2) linearly at positions (B, M): (B, M, 3)."""
    x = knots[..., 0].cummax(1).values
    values = torch.cat((knots[..., 1:], shifts), dim=-1)
    steps = (x[:, 1:] - x[:, :-1]).clamp_min(1e-4)
    slopes = (values[:, 1:] - values[:, :-1]) / steps[..., None]
    covered = (along[..., None] - x[:, None, :-1]).clamp_min(0).minimum(steps[:, None])
    return values[:, :1] + covered @ slopes


def _falling(distance: Tensor) -> Tensor:
    """Map a distance to 1 up to 0.5, and smoothly down to 0 at 1."""
    return smoothstep(2 - 2 * distance)


@lru_cache
@torch.inference_mode(False)  # cached: made in inference mode, it could not be used in training later
def feather(height: int, width: int) -> Tensor:
    """Return weights (1, 1, height, width): 1 in the middle of a window, smoothly 0 at its border."""
    rows, columns = (
        _falling(1 - torch.minimum(step, side - step) / (2 * FEATHER * side))
        for side in (height, width)
        for step in (torch.arange(side) + 0.5,)
    )
    return (rows[:, None] * columns)[None, None]
