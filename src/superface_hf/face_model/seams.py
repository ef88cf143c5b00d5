"""The flow next to the seams of a face, which are lids and lips.

The mesh flow is smooth, so it drags some eyeball or tooth along with a closing lid or lip, and holds the iris back at the lids.
Here each edge moves with its own skin: the area above the opening follows the upper edge alone, the area below follows the
lower edge alone, and a shut eye or mouth shows skin on both sides of its line. Between open lids the eyeball follows the iris.
Between open lips the upper teeth stay with the skull, whatever the jaw does. Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..utils.easing import smoothstep
from .rigid import RigidMotion
from .topology import LEFT_EYE, LEFT_IRIS, LIPS_INNER, RIGHT_EYE, RIGHT_IRIS

# Width of the interpolating Gaussians in lengths of the seam (corner to corner), and ridge of their fit to the landmarks.
KERNEL, RIDGE = 0.22, 2e-3
# How far from the edges (in lengths of the seam) its flow is used: across the seam, and beyond its corners.
REACH, PAST = 0.45, 0.25


@dataclass(frozen=True, eq=False)
class Seam:
    """The points of one seam; both edges run from the first corner to the second, corners included.

    ``above`` and ``below`` are the skin next to the edges. An opening lower than ``shut`` (in lengths) counts as shut, because
    trackers rarely report zero: in training frames with an eyeBlink score above 0.6 it is 0.03 to 0.08 on most faces. For
    ``exact`` see :class:`SeamFlow`. ``ball`` are the points that the eyeball between the edges follows, iris and corners; the
    mouth has none: behind the lips are teeth.
    """

    upper: np.ndarray
    lower: np.ndarray
    above: np.ndarray
    below: np.ndarray
    shut: float
    exact: bool
    ball: np.ndarray

    @property
    def shows_teeth(self) -> bool:
        return not len(self.ball)


def _edges(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = len(ring) // 2
    return np.concatenate([ring[:1], ring[:half:-1], ring[half : half + 1]]), ring[: half + 1]


def _seam(
    ring: np.ndarray, above: list[int], below: list[int], shut: float, exact: bool, iris: np.ndarray | None = None
) -> Seam:
    upper, lower = _edges(ring)
    ball = np.array([], int) if iris is None else np.concatenate([iris, upper[[0, -1]]])
    return Seam(upper, lower, np.array(above), np.array(below), shut, exact, ball)


SKIN_ABOVE_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 186, 92]
SKIN_ABOVE_LIPS += [165, 167, 164, 393, 391, 322, 410, 57, 287, 2, 97, 326, 203, 423, 206, 426, 216, 436]
SKIN_BELOW_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 43, 106]
SKIN_BELOW_LIPS += [182, 83, 18, 313, 406, 335, 273, 57, 287, 200, 201, 421, 202, 422, 204, 424, 194, 418]
SEAMS = (
    _seam(
        LEFT_EYE,
        [467, 260, 259, 257, 258, 286, 414, 445, 444, 443, 442, 441, 276, 283, 282, 295, 285, 359, 463],
        [339, 254, 253, 252, 256, 341, 448, 449, 450, 451, 452, 359, 463],
        shut=0.09,
        exact=True,
        iris=LEFT_IRIS,
    ),
    _seam(
        RIGHT_EYE,
        [247, 30, 29, 27, 28, 56, 190, 225, 224, 223, 222, 221, 46, 53, 52, 65, 55, 130, 243],
        [110, 24, 23, 22, 26, 112, 228, 229, 230, 231, 232, 130, 243],
        shut=0.09,
        exact=True,
        iris=RIGHT_IRIS,
    ),
    _seam(
        LIPS_INNER,
        SKIN_ABOVE_LIPS,
        SKIN_BELOW_LIPS,
        shut=0.02,
        exact=False,
    ),
)
MOUTH = SEAMS[-1]


@dataclass(frozen=True, eq=False)
class SeamFlow:
    """Backward flow beside lids and lips, on a grid of size x size cells.

    Attributes:
        flow: (B, 2, size, size) displacement in image units.
        weight: (B, 1, size, size) in [0, 1]: 1 on the skin next to a seam, on an eyeball and inside an open mouth, 0 away
            from all seams.
        exact: (B, 1, size, size) the part of ``weight`` that belongs to the skin around the eyes. A learned correction must
            not reopen a shut eye; lips may be corrected.
    """

    flow: Tensor
    weight: Tensor
    exact: Tensor


@torch.no_grad()
def seam_flow(source: Tensor, driving: Tensor, size: int) -> SeamFlow:
    """Return the flow beside the seams.

    Args:
        source, driving: (B, 478, 3) landmarks in image coordinates.
        size: side of the field in cells; 256 and more shows the edges sharply.
    """
    batch = source.shape[0]
    between_eyes = (driving[:, RIGHT_EYE[8], :2] - driving[:, LEFT_EYE[8], :2]).norm(dim=-1)
    total, weights, exact = (source.new_zeros(batch, channels, size, size) for channels in (2, 1, 1))
    for seam in SEAMS:
        window = _Window.around(driving, seam, size)
        here = window.coordinates(driving, seam)
        above = _follow(source, driving, np.union1d(seam.upper, seam.above), window)
        below = _follow(source, driving, np.union1d(seam.lower, seam.below), window)
        side = torch.sigmoid(2 * (here.across - (here.upper + here.lower) / 2) / here.cell)[:, None]
        outwards = torch.maximum(here.upper - here.across, here.across - here.lower).clamp_min(0)
        past = torch.maximum(-here.along, here.along - 1).clamp_min(0)
        # Drawn eyes may touch each other: the flow of one must not reach into the other.
        reach = (
            (between_eyes / window.length / 2).clamp(0.02, PAST) if seam.exact else torch.full_like(between_eyes, PAST)
        )
        near = _falling(outwards / REACH) * _falling(past / reach[:, None, None])
        between = _inside(here, seam.shut)
        if seam.shows_teeth:
            # Lips up to their rim: a mixture of both motions would draw a line of neither around the mouth.
            between = smoothstep(between, 0.5, 1.0)
        weight = (near * (1 - between))[:, None]
        window.add(total, weight * torch.lerp(above, below, side))
        window.add(weights, weight)
        if seam.exact:
            window.add(exact, weight)
        bare = (near * between)[:, None]
        behind = _teeth(source, driving, window) if seam.shows_teeth else _follow(source, driving, seam.ball, window)
        window.add(total, bare * behind)
        window.add(weights, bare)
    return SeamFlow(total / weights.clamp_min(1e-6), weights.clamp(max=1), exact.clamp(max=1))


@torch.no_grad()
def mouth_opening_mask(points: Tensor, size: int) -> Tensor:
    """Return a mask (B, 1, size, size) in [0, 1] of the open mouth, with sharp edges, for landmarks (B, 478, 3) in
    image coordinates."""
    window = _Window.around(points, MOUTH, size)
    here = window.coordinates(points, MOUTH)
    mask = points.new_zeros(points.shape[0], 1, size, size)
    window.add(mask, (_inside(here, MOUTH.shut) * ((here.along > 0) & (here.along < 1)))[:, None])
    return mask


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """Coordinates (B, n, n) of a window's cells along and across a seam, in lengths of the seam.

    Attributes:
        along: 0 and 1 at the seam's corners.
        across: downward.
        upper, lower: the position of both edges across the seam.
        gap, cell: (B, 1, 1) the largest gap between the edges, and the size of a cell.
    """

    along: Tensor
    across: Tensor
    upper: Tensor
    lower: Tensor
    gap: Tensor
    cell: Tensor


@dataclass(frozen=True, eq=False)
class _Window:
    """The cells around one seam, as many for every sample; computing all cells of the picture would cost twenty times
    as much.

    ``corner`` (B, 2) is the first cell (x, y), ``x`` and ``y`` (B, n) are the cells' centres, ``length`` (B,) that of the
    seam, in image units.
    """

    corner: Tensor
    x: Tensor
    y: Tensor
    length: Tensor

    @classmethod
    def around(cls, points: Tensor, seam: Seam, size: int) -> _Window:
        first, last = points[:, seam.upper[0], :2], points[:, seam.upper[-1], :2]
        length = (last - first).norm(dim=-1).clamp_min(1e-3)
        edges = points[:, np.union1d(seam.upper, seam.lower), :2]
        low, high = edges.amin(1), edges.amax(1)
        cells = ((high - low).amax(-1) + 2 * REACH * length) * (size / 2)
        side = min(size, int(cells.max().ceil()) + 1)
        middle = ((low + high) / 2 + 1) * (size / 2)
        corner = (middle - side / 2).round().clamp(0, size - side)
        steps = torch.arange(side, device=points.device, dtype=points.dtype) + 0.5
        x, y = ((corner[:, axis, None] + steps) * (2 / size) - 1 for axis in (0, 1))
        return cls(corner.long(), x, y, length)

    def add(self, whole: Tensor, part: Tensor) -> None:
        """Add (B, C, n, n) to (B, C, size, size) in place."""
        side = part.shape[-1]
        for picture, patch, (x, y) in zip(whole, part, self.corner.tolist(), strict=True):
            picture[:, y : y + side, x : x + side] += patch

    def coordinates(self, points: Tensor, seam: Seam) -> _Coordinates:
        first, last = points[:, seam.upper[0], :2], points[:, seam.upper[-1], :2]
        axis = (last - first) / self.length[:, None]
        normal = torch.stack((-axis[:, 1], axis[:, 0]), dim=-1)
        downward = (points[:, seam.below, :2].mean(1) - points[:, seam.above, :2].mean(1)) * normal
        normal = normal * downward.sum(-1, keepdim=True).sign()

        def measure(direction: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            direction = direction / self.length[:, None]
            x = (self.x - first[:, :1]) * direction[:, :1]
            y = (self.y - first[:, 1:]) * direction[:, 1:]
            upper, lower = (
                ((points[:, edge, :2] - first[:, None]) * direction[:, None]).sum(-1)
                for edge in (seam.upper, seam.lower)
            )
            return y[:, :, None] + x[:, None, :], (upper, lower)

        (along, knots), (across, heights) = measure(axis), measure(normal)
        edges = [_polyline(along, *edge) for edge in zip(knots, heights, strict=True)]
        cell = (self.x[:, 1] - self.x[:, 0]) / self.length
        gap = (heights[1] - heights[0]).amax(-1)
        # A tracker may put a shut upper lid a hair below the lower one.
        upper, lower = torch.minimum(*edges), torch.maximum(*edges)
        return _Coordinates(along, across, upper, lower, gap[:, None, None], cell[:, None, None])


def _inside(here: _Coordinates, shut: float) -> Tensor:
    open_ = (here.gap / shut - 1).clamp(0, 1)
    middle, half = (here.upper + here.lower) / 2, open_ * (here.lower - here.upper) / 2
    depth = half - (here.across - middle).abs()
    return torch.sigmoid(2 * depth / here.cell) * (2 * half / here.cell).clamp(0, 1)


def _polyline(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the height at the places (B, n, n) of the line through the knots (B, N), which run from left to right."""
    x = x.cummax(1).values
    steps = (x[:, 1:] - x[:, :-1]).clamp_min(1e-4)
    slopes = (y[:, 1:] - y[:, :-1]) / steps
    height = y[:, 0, None, None].expand_as(at)
    for knot, step, slope in zip(x.unbind(1), steps.unbind(1), slopes.unbind(1), strict=False):
        covered = (at - knot[:, None, None]).clamp_min(0).minimum(step[:, None, None])
        height = height + slope[:, None, None] * covered
    return height


def _follow(source: Tensor, driving: Tensor, points: np.ndarray, window: _Window) -> Tensor:
    """Return the displacement (B, 2, n, n) that moves these points (almost exactly) as wanted: affine, with Gaussians
    on top."""
    here, there = driving[:, points, :2], source[:, points, :2]
    wanted = there - here
    precision = 0.5 / (KERNEL * window.length[:, None, None]).square()
    linear = torch.cat((here, torch.ones_like(here[..., :1])), dim=-1)
    normal = linear.transpose(1, 2) @ linear + 1e-4 * torch.eye(3, device=here.device, dtype=here.dtype)
    affine = torch.linalg.solve(normal, linear.transpose(1, 2) @ wanted)  # (B, 3, 2)
    kernel = torch.exp(-torch.cdist(here, here).square() * precision)
    kernel = kernel + RIDGE * torch.eye(points.shape[0], device=here.device, dtype=here.dtype)
    weights = torch.linalg.solve(kernel, wanted - linear @ affine)
    columns = torch.exp(-(here[..., :1] - window.x[:, None]).square() * precision)  # (B, N, n)
    rows = torch.exp(-(here[..., 1:] - window.y[:, None]).square() * precision)
    bumps = rows.transpose(1, 2)[:, None] @ (weights.transpose(1, 2)[..., None] * columns[:, None])
    across = affine[:, 0, :, None, None] * window.x[:, None, None, :]
    return bumps + across + affine[:, 1, :, None, None] * window.y[:, None, :, None] + affine[:, 2, :, None, None]


def _teeth(source: Tensor, driving: Tensor, window: _Window) -> Tensor:
    """Return the displacement (B, 2, n, n) of upper teeth, which are fixed to the skull behind the upper lip."""
    rigid = RigidMotion.between(source, driving)
    turn, scale = rigid.rotation, rigid.scale[:, None, None]
    lip = source[:, torch.as_tensor(MOUTH.upper, device=source.device), 2].double().mean(1)
    depth = (lip[:, None] - rigid.before[:, :, 2])[..., None]
    # The inverse of the motion in the plane, of places at the lip's depth.
    back = torch.linalg.inv(turn[:, :2, :2])
    place = torch.stack(torch.broadcast_tensors(window.x[:, None, :], window.y[:, :, None]), dim=1).flatten(2)
    away = (place - rigid.after[:, 0, :2, None]) / scale - turn[:, :2, 2:] * depth
    source_place = back @ away + rigid.before[:, 0, :2, None]
    return (source_place - place).to(source.dtype).unflatten(2, (window.y.shape[1], window.x.shape[1]))


def _falling(distance: Tensor) -> Tensor:
    """Map a distance to 1 up to 0.5, and smoothly down to 0 at 1."""
    return smoothstep(2 - 2 * distance)
