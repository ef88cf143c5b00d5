"""Train the tracker's refiners of mouth and brows::

    superface train tracker-mouth --prepared .cache/prepared
    superface train tracker-brows --prepared .cache/prepared

Checkpoints are written every few minutes; the same command continues from the last one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.caching import cached
from ...data.tracker import augment
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.networks import CropRefiner
from ...utils.settings import number
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from .part import Draws, Part, PartTrainingConfig, train_part
from .parts import (
    CropBatch,
    GroupSampler,
    HeldOut,
    PartSet,
    initialise_basis,
    jittered_points,
    load_parts,
    movement_error,
    movement_figures,
    random_jitter,
    stretch,
)
from .region_crops import CROP_MARGIN, RegionCropsConfig, gather
from .regions import MEASURED_BROWS, MEASURED_MOUTH, MeasuredRegion

logger = logging.getLogger(__name__)


# How far crops are off in training; see `random_jitter`.
JITTER = {"turn": 2.5, "scale": 0.04, "shift": 0.03}


@dataclass
class RegionTrainingConfig(PartTrainingConfig):
    """How a refiner of a region is trained; ``batch`` is a multiple of ``parts.GROUP``.

    Attributes:
        cache: where the crops are kept between runs.
        crops: which crops are gathered.
        start: weights of a refiner to begin with.
        movement: weight of how the region's points lie to each other (and of how that differs within a clip) beside the points.
    """

    cache: Path = Path(".cache/tracker_region")
    crops: RegionCropsConfig = field(default_factory=RegionCropsConfig)
    start: Path | None = None
    minutes: float = number(45.0, low=0.01)
    batch: int = number(64, low=1)
    learning_rate: float = number(3e-3, low=0)
    movement: float = number(1.0, low=0)
    checkpoint_seconds: float = number(120.0, low=0)


@dataclass
class MouthTrainingConfig(RegionTrainingConfig):
    """How the mouth refiner is trained."""

    out: Path = Path("runs/tracker_mouth")
    cache: Path = Path(".cache/tracker_mouth")


@dataclass
class BrowTrainingConfig(RegionTrainingConfig):
    """How the brow refiner is trained."""

    out: Path = Path("runs/tracker_brows")
    cache: Path = Path(".cache/tracker_brows")
    crops: RegionCropsConfig = field(default_factory=lambda: RegionCropsConfig(crop_pixels=176))


class RegionData:
    """Draws augmented batches from crops in memory."""

    def __init__(
        self, config: RegionTrainingConfig, measured: MeasuredRegion, size: int, accelerator: Accelerator
    ) -> None:
        self.measured, self.size, self.batch = measured, size, config.batch
        self.path = cached(config.cache, f"{measured.name}.npz", config.prepared, config.crops)
        with accelerator.main_process_first():  # the others find its crops in the cache
            if not self.path.exists():
                gather(self.path, config.prepared, config.crops, measured)
        self.train = load_parts(self.path, "train")
        self.rows = GroupSampler(self.train)
        self.twins = measured.mirror_places()

    def __call__(self, draws: Draws) -> CropBatch:
        """Return the crops of groups of one region."""
        rows = self.rows(self.batch, draws.numpy)
        pictures, points = self._cut(self.train, rows, *random_jitter(len(rows), draws.torch, **JITTER))
        flipped = torch.rand(len(rows), generator=draws.torch) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flipped)
        pictures = augment.random_light(pictures, draws.torch)
        pictures = augment.random_occlusion(pictures, draws.torch, share=0.1)
        pictures = augment.random_degradation(pictures, draws.torch)
        return CropBatch(pictures * 2 - 1, points)

    def jittered(self, count: int, draws: Draws) -> Tensor:
        """Return the points (N, P, 3) of training crops alone, half of them mirrored."""
        rows = self.rows(count, draws.numpy)
        jitter = random_jitter(len(rows), draws.torch, **JITTER)
        points = jittered_points(torch.from_numpy(self.train.points[rows]), 1 / CROP_MARGIN, *jitter)
        flipped = torch.rand(len(rows), generator=draws.torch) < 0.5
        return augment.mirror(torch.zeros(len(rows), 1, 1, 1), points, self.twins, flipped)[1]

    def kept(self, name: str) -> HeldOut:
        """Return all crops of a set that is not trained on, off by as much as the regressor's are; groups are clips."""
        parts = load_parts(self.path, name)
        rows = np.arange(len(parts.points))
        jitter = random_jitter(len(rows), torch.Generator().manual_seed(1), turn=0.6, scale=0.02, shift=0.015)
        pictures, points = self._cut(parts, rows, *jitter)
        return HeldOut(pictures * 2 - 1, points, torch.from_numpy(parts.groups))

    def _cut(self, parts: PartSet, rows: np.ndarray, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(parts.pictures[rows]).permute(0, 3, 1, 2).float() / 255
        points = torch.from_numpy(parts.points[rows])
        pictures, points = augment.cut_crops(pictures, points, self.size, 1 / CROP_MARGIN, *jitter)
        return pictures[:, :, self.measured.region.rows(self.size)].contiguous(), points


def region_loss(predicted: Tensor, target: Tensor, movement: float, measured: MeasuredRegion) -> Tensor:
    """Return the distance of points, and of how they lie to each other, as it is and as it differs within a group.

    Args:
        predicted, target: (B, P, 3), groups of ``GROUP`` following each other.
    """
    error = F.smooth_l1_loss(predicted, target, beta=0.02, reduction="none")
    points = (error * error.new_tensor([1, 1, 1 / 3]) * measured.weights.to(error)[:, None]).mean()
    first, second = measured.vectors.to(target.device).T
    off = (predicted - target)[..., :2]
    return points + movement * movement_error(off[:, first] - off[:, second], beta=0.01)


def measure_refiner(refiner: nn.Module, held_out: HeldOut, measured: MeasuredRegion) -> dict[str, float]:
    """Return the mean 2D error in percent of the eyes' distance, and how movement within a clip is seen: slope and
    correlation."""
    predicted = held_out.seen_by(refiner)
    error = (predicted - held_out.points)[..., :2].norm(dim=-1).mean() * measured.unit
    return {"error": 100 * float(error), **movement_figures(predicted, held_out, measured.figures)}


def train(
    config: RegionTrainingConfig, until: int | None = None, model_config: SuperFaceTrackerConfig | None = None
) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``, and stretch what the network then sees.

    See :func:`.part.train_part`.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    if isinstance(config, BrowTrainingConfig):
        measured, side, refiner = MEASURED_BROWS, model_config.brow_size, CropRefiner.of_brows(model_config)
    else:
        measured, side, refiner = MEASURED_MOUTH, model_config.mouth_size, CropRefiner.of_mouth(model_config)
    data = RegionData(config, measured, side, accelerator)
    refiner = channels_last(refiner)
    if config.start is not None:
        refiner.load_state_dict(load_file(config.start))
    else:
        initialise_basis(refiner.shape, refiner.coefficients, data.jittered(4000, Draws.of(config.seed)))
    held_out = data.kept("val")
    part = Part(
        refiner,
        [(list(refiner.parameters()), config.learning_rate)],
        data,
        lambda network, batch: {"loss": region_loss(network(batch.pictures), batch.points, config.movement, measured)},
        lambda network: measure_refiner(network, held_out, measured),
        ema=0.998,
    )
    return train_part(part, config, accelerator, until, lambda network: settle(network, data))


def settle(refiner: nn.Module, data: RegionData) -> None:
    """Stretch the movements of a trained refiner by the factors that held-out people need."""
    assert isinstance(refiner, CropRefiner)
    refiner.cpu()
    held_out, measured = data.kept("tune"), data.measured
    logger.info("before: %s", measure_refiner(refiner, held_out, measured))
    factors = stretch(refiner, held_out.seen_by(refiner), held_out.points, held_out.groups, measured.sums)
    logger.info("stretched by %s: %s", factors.tolist(), measure_refiner(refiner, held_out, measured))
