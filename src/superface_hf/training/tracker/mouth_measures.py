"""Measures of a mouth: opening, width and corners, from the points of the tracker's mouth refiner."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...face_model import topology
from ...face_model.linear import FaceModel
from ...models.tracker.mouth import MOUTH_POINTS, SIDE

_PLACE = {int(point): place for place, point in enumerate(MOUTH_POINTS)}


def _places(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor([[_PLACE[first], _PLACE[second]] for first, second in pairs])


def _across(ring: np.ndarray) -> list[tuple[int, int]]:
    """Return the upper and lower points of a ring that face each other."""
    half = len(ring) // 2
    return [(int(ring[-step]), int(ring[step])) for step in range(1, half)]


_GAPS = _places([*topology.INNER_LIPS])
_CORNERS = _places([(61, 291)])[0]
LIPS = torch.tensor([_PLACE[int(point)] for point in topology.LIPS])
# Vectors between points that describe a mouth: how far the lips are apart and how thick, how wide it is, and where the
# corners, the lips and the chin are from the nose and from each other.
VECTORS = _places(
    [*_across(topology.LIPS_INNER), *_across(topology.LIPS_OUTER)]
    + [(61, 291), (78, 308), (40, 270), (91, 321), (37, 267), (84, 314)]
    + [(0, 13), (37, 82), (267, 312), (14, 17), (87, 84), (317, 314)]
    + [(2, 0), (2, 61), (2, 291), (17, 152), (61, 17), (291, 17), (2, 152)]
)


def opening(points: Tensor) -> Tensor:
    """Return the mean gap (B,) between the inner lips in distances of the eyes, of points (B, P, 3) in units of the network's
    crop."""
    return (points[:, _GAPS[:, 0]] - points[:, _GAPS[:, 1]])[..., :2].norm(dim=-1).mean(1) * SIDE / 2


def height(points: Tensor) -> Tensor:
    """Return the distance (B,) of the lips' outer edges in the middle, as :func:`opening`."""
    return (points[:, _PLACE[0]] - points[:, _PLACE[17]])[..., :2].norm(dim=-1) * SIDE / 2


def width(points: Tensor) -> Tensor:
    """Return the distance (B,) of the corners, as :func:`opening`."""
    return (points[:, _CORNERS[0]] - points[:, _CORNERS[1]])[..., :2].norm(dim=-1) * SIDE / 2


def corners(points: Tensor) -> Tensor:
    """Return how far (B, 2) each corner is below the lips' middle, as :func:`opening`: smiles, frowns, and one-sided ones."""
    middle = points[:, LIPS, 1].mean(1, keepdim=True)
    return (points[:, _CORNERS, 1] - middle) * SIDE / 2


def measures() -> Tensor:
    """Return the opening and width of an upright mouth as sums (2, P * 3) of coordinates, in units of the crop."""
    sums = torch.zeros(2, len(MOUTH_POINTS), 3)
    for upper, lower in _GAPS.tolist():
        sums[0, upper, 1] -= 1 / len(_GAPS)
        sums[0, lower, 1] += 1 / len(_GAPS)
    sums[1, _CORNERS, 0] = torch.tensor([-1.0, 1.0])
    return sums.flatten(1)


def mirror_places() -> Tensor:
    """Return the place (P,) of each point's twin on the other side of the face."""
    mean = FaceModel.default().mean[torch.from_numpy(MOUTH_POINTS)]
    twins = torch.cdist(mean * mean.new_tensor([-1, 1, 1]), mean).argmin(1)
    assert (twins[twins] == torch.arange(len(twins))).all()
    return twins
