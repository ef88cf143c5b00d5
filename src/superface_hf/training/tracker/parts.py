"""The shared parts of both refiners' trainings: crops of a part of the face in a file, batches of one person each,
how rare a pose of the part is, and how its network starts."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.batch import Batch
from ...data.tracker import augment
from ...models.tracker.networks import CropRefiner
from ...utils.files import write_arrays

# Samples that follow each other in a batch are of one person, so many: what differs between them is the part's movement.
GROUP = 4
# A movement that is seen with less correlation than the first is not stretched; none is by more than the second.
SURE, MOST_STRETCH = 0.8, 1.3
# WebP quality of kept crops.
QUALITY = 82


@dataclass(frozen=True)
class PartSet:
    """Crops of a part of the face, wider than the network's.

    Attributes:
        pictures: (N, S, S, 3) uint8.
        points: (N, P, 3) float32 in units of that crop; depth from the part's corners.
        groups: (N,) int, which crops may be compared: those of one person's same eye, or of one clip's mouth.
        weights: (N,) float64 sampling weights that sum to 1.
    """

    pictures: np.ndarray
    points: np.ndarray
    groups: np.ndarray
    weights: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the small arrays for a file: the pictures as WebP, the points in half precision."""
        encoded = [_encoded(picture) for picture in self.pictures]
        return {
            "pictures": np.frombuffer(b"".join(encoded), np.uint8),
            "lengths": np.array([len(data) for data in encoded], np.int32),
            "points": self.points.astype(np.float16),
            "groups": self.groups.astype(np.int32),
            "weights": self.weights.astype(np.float32),
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> PartSet:
        ends = np.cumsum(arrays["lengths"])
        data = arrays["pictures"].tobytes()
        pictures = [
            np.asarray(Image.open(io.BytesIO(data[end - length : end]), formats=["WEBP"]).convert("RGB"))
            for end, length in zip(ends.tolist(), arrays["lengths"].tolist(), strict=True)
        ]
        weights = arrays["weights"].astype(np.float64)
        points = arrays["points"].astype(np.float32)
        return cls(np.stack(pictures), points, arrays["groups"], weights / weights.sum())


def save_parts(path: Path, **sets: PartSet) -> None:
    """Write sets by their names into one file, which appears complete or not at all."""
    arrays: dict[str, Any] = {f"{name}.{key}": a for name, each in sets.items() for key, a in each.arrays().items()}
    write_arrays(path, arrays, compressed=True)


def load_parts(path: Path, name: str) -> PartSet:
    """Return one of the sets of :func:`save_parts`."""
    with np.load(path) as data:
        return PartSet.of_arrays({key.split(".")[1]: data[key] for key in data.files if key.startswith(f"{name}.")})


def _encoded(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


@dataclass(eq=False)
class CropBatch(Batch):
    """Crops of a part of the face as the network sees them.

    Attributes:
        pictures: (B, 3, H, W) in [-1, 1].
        points: (B, P, 3) in units of the crop.
    """

    pictures: Tensor
    points: Tensor


@dataclass(eq=False)
class HeldOut(CropBatch):
    """Crops of people who are not trained on.

    Attributes:
        groups: (B,) which crops may be compared, as in :class:`PartSet`.
    """

    groups: Tensor

    @torch.no_grad()
    def seen_by(self, refiner: nn.Module) -> Tensor:
        """Return the points (B, P, 3) that a refiner finds."""
        refiner.eval()
        device = next(refiner.parameters()).device
        return torch.cat([refiner(part.to(device)).cpu() for part in self.pictures.split(128)])


def kept_to_tune(person: str, one_in: int) -> bool:
    """Return whether a person is kept out of training, to learn by how much movements must be stretched: one in so many."""
    return zlib.crc32(person.encode()) % one_in == 0


class GroupSampler:
    """Draws rows of a set, ``GROUP`` of one group following each other."""

    def __init__(self, parts: PartSet) -> None:
        self.weights = parts.weights
        order = np.argsort(parts.groups, kind="stable")
        ends = np.flatnonzero(np.diff(parts.groups[order])) + 1
        self.members = np.split(order, ends)
        shares = np.array([self.weights[rows].sum() for rows in self.members])
        self.shares = shares / shares.sum()

    def __call__(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Return the numbers (count,) of drawn rows."""
        rows = []
        for group in random.choice(len(self.members), count // GROUP, p=self.shares):
            members = self.members[group]
            weights = self.weights[members]
            rows.append(random.choice(members, GROUP, p=weights / weights.sum()))
        return np.concatenate(rows)


def random_jitter(
    count: int, generator: torch.Generator, turn: float, scale: float, shift: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw how far the network's crop is off, for ``augment.cut_crops``: normal, with these deviations (degrees, log, crop
    units); one in five is off twice as far."""
    device = generator.device
    wide = torch.where(torch.rand(count, generator=generator, device=device) < 0.2, 2.0, 1.0)

    def spread(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device).clamp(-2, 2)

    turns = spread(count) * math.radians(turn) * wide
    return turns, torch.exp(spread(count) * scale * wide), spread(count, 2) * shift * wide[:, None]


def jittered_points(points: Tensor, zoom: float, *jitter: Tensor) -> Tensor:
    """Return the points (N, P, 3) of wider crops in units of the network's, which are off by ``jitter``; see
    ``augment.cut_crops``."""
    blank = torch.zeros(len(points), 3, 2, 2)
    return augment.cut_crops(blank, points, 2, zoom, *jitter)[1]


def rarity(state: np.ndarray) -> np.ndarray:
    """Return how rare (N,) each row of (N, D) numbers is: the root of one over each number's density, multiplied; mean 1.

    Without it the network learns the usual pose, and pulls all others toward it.
    """
    rare = np.ones(len(state))
    for column in state.T:
        low, high = np.percentile(column, [1, 99])
        edges = np.linspace(low, high, 13)
        place = np.clip(np.digitize(column, edges), 0, len(edges))
        share = np.bincount(place, minlength=len(edges) + 1) / len(place)
        rare *= np.clip(share.max() / share[place], 1, 12) ** 0.5
    return rare / rare.mean()


def movement_error(off: Tensor, beta: float) -> Tensor:
    """Return the error of some measures of the part, both as they are and as they differ within a group.

    Args:
        off: (B, ...) seen less true, groups of ``GROUP`` following each other.
    """
    groups = off.unflatten(0, (-1, GROUP))
    return _smooth(off, beta) + _smooth(groups - groups.mean(1, keepdim=True), beta)


def _smooth(error: Tensor, beta: float) -> Tensor:
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta)


@torch.no_grad()
def initialise_basis(basis: nn.Linear, coefficients: nn.Linear, points: Tensor) -> None:
    """Start a last layer as mean and principal components of jittered training points (N, P, 3), and what feeds it small."""
    flat = points.flatten(1)
    mean = flat.mean(dim=0)
    _, values, vectors = torch.pca_lowrank(flat - mean, q=basis.in_features, center=False)
    basis.weight.copy_(vectors * (values / math.sqrt(len(flat))).clamp(min=1e-4))
    basis.bias.copy_(mean)
    nn.init.normal_(coefficients.weight, std=0.2 / math.sqrt(coefficients.in_features))
    nn.init.zeros_(coefficients.bias)


@torch.no_grad()
def stretch(refiner: CropRefiner, seen: Tensor, true: Tensor, groups: Tensor, measures: Tensor) -> Tensor:
    """Scale a refiner's last layer so that its points move as far as the labels do: an unsure network stays near the mean.

    Each measure is divided by the slope with which its changes within a group are seen, and the points go with it as the
    labels' do. A measure that is hardly seen (correlation below ``SURE``) is left alone, as only noise would grow.

    Args:
        seen, true: (N, P, 3) what the refiner says and the labels of people that it was not trained on; groups: (N,).
        measures: (M, P * 3), each a weighted sum of the points' coordinates.

    Returns:
        (M,) the factors, from 1 to ``MOST_STRETCH``.
    """
    centre = seen.flatten(1).mean(0)
    moved, meant = (within_groups(points.flatten(1), groups) for points in (seen, true))
    factors = torch.ones(len(measures))
    for index, (mine, wanted) in enumerate(zip((moved @ measures.T).T, (meant @ measures.T).T, strict=True)):
        slope, correlation = slope_and_correlation(mine, wanted)
        if correlation > SURE:
            factors[index] = min(max(1 / slope, 1.0), MOST_STRETCH)
    # How the labels' points go with the measures: (P * 3, M).
    follow = torch.linalg.lstsq(meant @ measures.T, meant).solution.T
    grown = follow @ ((factors.to(seen) - 1)[:, None] * measures)
    refiner.shape.weight.add_(grown @ refiner.shape.weight)
    refiner.shape.bias.add_(grown @ (refiner.shape.bias - centre))
    return factors


def movement_figures(
    predicted: Tensor, held_out: HeldOut, measures: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, float]:
    """Return the slope and correlation of each measure's changes within a group, as seen against the labels.

    Args:
        predicted: (B, P, 3) what a refiner finds of those held out.
        measures: each gives (B, ...) numbers of points (B, P, 3).
    """
    figures = {}
    for name, measure in measures.items():
        seen, true = (within_groups(measure(points), held_out.groups) for points in (predicted, held_out.points))
        figures[f"{name}_slope"], figures[f"{name}_correlation"] = slope_and_correlation(seen, true)
    return figures


def within_groups(values: Tensor, groups: Tensor) -> Tensor:
    """Return values (N, ...) less the mean of their group (N,)."""
    _, index = groups.unique(return_inverse=True)
    counts = torch.bincount(index).to(values).reshape(-1, *[1] * (values.dim() - 1))
    sums = values.new_zeros(len(counts), *values.shape[1:]).index_add_(0, index, values)
    return values - (sums / counts)[index]


def slope_and_correlation(seen: Tensor, true: Tensor) -> tuple[float, float]:
    """Return the slope and correlation of centred values as seen against the true ones."""
    product = (seen * true).sum()
    slope = product / true.square().sum().clamp(min=1e-9)
    return float(slope), float(product / (true.norm() * seen.norm()).clamp(min=1e-9))
