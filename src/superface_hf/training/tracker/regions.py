"""Measures of mouth and brows, from the points of the tracker's refiners: what is compared, counted as rare, and stretched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...face_model import topology
from ...face_model.linear import FaceModel
from ...models.tracker.regions import BROWS, MOUTH, Region

Measure = Callable[[Tensor], Tensor]
# How much more than others the important points count in the loss.
IMPORTANT = 2.5


@dataclass(frozen=True, eq=False)
class MeasuredRegion:
    """A region of the face, and how its movement is measured.

    All measures take points (N, P, 3) in units of the network's crop, and are in distances of the outer eye corners.

    Attributes:
        name: of the region, in files.
        region: where its refiner looks.
        important: mesh points that count ``IMPORTANT`` times as much as others in the loss.
        vectors: (V, 2) places of points whose vectors are to be right, and to change as they should.
        poses: each gives (N,) numbers, whose rare values are shown more often.
        figures: what validation reports: name -> (N, ...) numbers.
        sums: (M, P * 3) sums of coordinates, which are stretched.
    """

    name: str
    region: Region
    important: np.ndarray
    vectors: Tensor
    poses: tuple[Measure, ...]
    figures: Mapping[str, Measure]
    sums: Tensor

    @property
    def unit(self) -> float:
        """Distances of the outer eye corners in a unit of the crop."""
        return self.region.side / 2

    @cached_property
    def weights(self) -> Tensor:
        """The weight (P,) of each point in the loss, 1 on average."""
        weights = torch.ones(len(self.region.points))
        weights[np.isin(self.region.points, self.important)] = IMPORTANT
        return weights / weights.mean()

    def movement(self, points: np.ndarray) -> np.ndarray:
        """Return the poses (N, D) of points (N, P, 3)."""
        tensor = torch.from_numpy(points)
        return torch.stack([pose(tensor) for pose in self.poses], dim=1).numpy()

    def mirror_places(self) -> Tensor:
        """Return the place (P,) of each point's twin on the other side of the face."""
        mean = FaceModel.default().mean[torch.from_numpy(self.region.points)]
        twins = torch.cdist(mean * mean.new_tensor([-1, 1, 1]), mean).argmin(1)
        assert (twins[twins] == torch.arange(len(twins))).all()
        return twins


def _place_of(region: Region) -> dict[int, int]:
    """Return the place of each mesh point among the region's."""
    return {int(point): place for place, point in enumerate(region.points)}


def _places(region: Region, pairs: list[tuple[int, int]]) -> Tensor:
    place = _place_of(region)
    return torch.tensor([[place[first], place[second]] for first, second in pairs])


def _across(ring: np.ndarray) -> list[tuple[int, int]]:
    """Return the upper and lower points of a ring that face each other."""
    half = len(ring) // 2
    return [(int(ring[-step]), int(ring[step])) for step in range(1, half)]


def _through() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the pairs of points, outer and inner, through the upper and through the lower lip, without the corners."""
    pairs = [(int(outer), int(inner)) for outer, inner in zip(topology.LIPS_OUTER, topology.LIPS_INNER, strict=True)]
    half = len(pairs) // 2
    return pairs[half + 1 :], pairs[1:half]


def _mean_distance(region: Region, pairs: list[tuple[int, int]]) -> Measure:
    places = _places(region, pairs)

    def measure(points: Tensor) -> Tensor:
        apart = (points[:, places[:, 0]] - points[:, places[:, 1]])[..., :2].norm(dim=-1)
        return apart.mean(1) * region.side / 2

    return measure


def _sum(region: Region, weights: Mapping[int, float], axis: int) -> Tensor:
    """Return one row (P * 3,): a sum of the coordinates along an axis, by mesh point."""
    row, place = torch.zeros(len(region.points), 3), _place_of(region)
    for point, weight in weights.items():
        row[place[point], axis] += weight
    return row.flatten()


def _measured_mouth() -> MeasuredRegion:
    """Opening, width, height of the lips, how thick each is (pressed, rolled and pursed ones), and the corners: smiles,
    frowns, and one-sided ones."""
    opening = _mean_distance(MOUTH, [*topology.INNER_LIPS])
    width = _mean_distance(MOUTH, [(61, 291)])
    height = _mean_distance(MOUTH, [(0, 17)])
    upper, lower = (_mean_distance(MOUTH, pairs) for pairs in _through())
    sides = _places(MOUTH, [(61, 291)])[0]
    lips = torch.from_numpy(np.flatnonzero(np.isin(MOUTH.points, topology.LIPS)))

    def corners(points: Tensor) -> Tensor:
        """Return how far (N, 2) each corner is below the lips' middle."""
        return (points[:, sides, 1] - points[:, lips, 1].mean(1, keepdim=True)) * MOUTH.side / 2

    gaps = list(topology.INNER_LIPS)
    opened = {int(point): sign / len(gaps) for pair in gaps for point, sign in zip(pair, (-1.0, 1.0), strict=True)}
    return MeasuredRegion(
        "mouth",
        MOUTH,
        important=topology.LIPS,
        # How far the lips are apart and how thick, how wide the mouth is, and where the corners, the lips and the chin are from
        # the nose and from each other.
        vectors=_places(
            MOUTH,
            [*_across(topology.LIPS_INNER), *_across(topology.LIPS_OUTER)]
            + [(61, 291), (78, 308), (40, 270), (91, 321), (37, 267), (84, 314)]
            + [pair for lip in _through() for pair in lip]
            + [(2, 0), (2, 61), (2, 291), (17, 152), (61, 17), (291, 17), (2, 152)],
        ),
        poses=(
            opening,
            width,
            lambda points: corners(points)[:, 0] - corners(points)[:, 1],
            lambda points: height(points) - opening(points),
            upper,
            lower,
            lambda points: corners(points).mean(1),
        ),
        figures={"opening": opening, "width": width, "corners": corners, "upper_lip": upper, "lower_lip": lower},
        # How thick lips are is seen less surely: stretched, the error grew more than the movement.
        sums=torch.stack([_sum(MOUTH, opened, 1), _sum(MOUTH, {61: -1.0, 291: 1.0}, 0)]),
    )


def _measured_brows() -> MeasuredRegion:
    """Height of the brows over the corners of their eyes, their distance (a frown), and their slant."""
    right, left = (33, 133), (263, 362)
    heights = [
        {**{int(point): -1 / len(brow) for point in brow}, **dict.fromkeys(corners, 1 / 2)}
        for brow, corners in ((topology.RIGHT_BROW, right), (topology.LEFT_BROW, left))
    ]
    both = {point: weight / 2 for side in heights for point, weight in side.items()}
    uneven = {
        point: sign * weight for side, sign in zip(heights, (1.0, -1.0), strict=True) for point, weight in side.items()
    }
    slant = {107: -0.5, 336: -0.5, 70: 0.5, 300: 0.5}
    rows = {
        "height": _sum(BROWS, both, 1),
        "uneven": _sum(BROWS, uneven, 1),
        "distance": _sum(BROWS, {55: -1.0, 285: 1.0}, 0),
        "slant": _sum(BROWS, slant, 1),
    }
    figures = {name: _summed(row, BROWS) for name, row in rows.items()}
    pairs = [(point, corner) for point in (46, 52, 55, 63, 66, 70, 105, 107) for corner in right]
    pairs += [(point, corner) for point in (276, 282, 285, 293, 296, 300, 334, 336) for corner in left]
    return MeasuredRegion(
        "brows",
        BROWS,
        important=np.concatenate([topology.RIGHT_BROW, topology.LEFT_BROW]),
        vectors=_places(BROWS, [*pairs, (55, 285), (107, 336), (9, 8), (108, 107), (337, 336)]),
        poses=tuple(figures.values()),
        figures=figures,
        # Frowns and slants are seen less surely: stretched, their error grew by more than their movement.
        sums=rows["height"][None],
    )


def _summed(row: Tensor, region: Region) -> Measure:
    return lambda points: points.flatten(1) @ row.to(points) * region.side / 2


MEASURED_MOUTH, MEASURED_BROWS = _measured_mouth(), _measured_brows()
