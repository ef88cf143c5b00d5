"""Train the tracker's mouth refiner::

    superface train tracker-mouth --prepared .cache/prepared

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
from ...models.tracker.mouth import SIDE
from ...models.tracker.networks import CropRefiner
from ...utils.settings import number
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from .mouth_crops import CROP_MARGIN, MouthCropsConfig, gather
from .mouth_measures import LIPS, VECTORS, corners, measures, mirror_places, opening, width
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

logger = logging.getLogger(__name__)


# How far crops are off in training; see `random_jitter`.
JITTER = {"turn": 2.5, "scale": 0.04, "shift": 0.03}


@dataclass
class MouthTrainingConfig(PartTrainingConfig):
    """How the mouth refiner is trained; ``batch`` is a multiple of ``parts.GROUP``.

    Attributes:
        cache: where the crops of mouths are kept between runs.
        crops: which crops are gathered.
        start: weights of a refiner to begin with.
        movement: weight of how lips, corners and chin lie to each other (and of how that differs within a clip) beside the
            points.
    """

    out: Path = Path("runs/tracker_mouth")
    cache: Path = Path(".cache/tracker_mouth")
    crops: MouthCropsConfig = field(default_factory=MouthCropsConfig)
    start: Path | None = None
    minutes: float = number(45.0, low=0.01)
    batch: int = number(64, low=1)
    learning_rate: float = number(3e-3, low=0)
    movement: float = number(1.0, low=0)
    checkpoint_seconds: float = number(120.0, low=0)


class MouthData:
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: MouthTrainingConfig, size: int, accelerator: Accelerator) -> None:
        self.size, self.batch = size, config.batch
        self.path = cached(config.cache, "crops.npz", config.prepared, config.crops)
        with accelerator.main_process_first():  # the others find its crops in the cache
            if not self.path.exists():
                gather(self.path, config.prepared, config.crops)
        self.train = load_parts(self.path, "train")
        self.rows = GroupSampler(self.train)
        self.twins = mirror_places()

    def __call__(self, draws: Draws) -> CropBatch:
        """Return the square crops of groups of mouths."""
        rows = self.rows(self.batch, draws.numpy)
        pictures, points = self._cut(self.train, rows, *random_jitter(len(rows), draws.torch, **JITTER))
        flipped = torch.rand(len(rows), generator=draws.torch) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flipped)
        pictures = augment.random_light(pictures, draws.torch)
        pictures = augment.random_occlusion(pictures, draws.torch, share=0.1)
        pictures = augment.random_degradation(pictures, draws.torch)
        return CropBatch(pictures * 2 - 1, points)

    def jittered(self, count: int, draws: Draws) -> Tensor:
        """Return the points (N, P, 3) of training mouths alone, half of them mirrored."""
        rows = self.rows(count, draws.numpy)
        jitter = random_jitter(len(rows), draws.torch, **JITTER)
        points = jittered_points(torch.from_numpy(self.train.points[rows]), 1 / CROP_MARGIN, *jitter)
        flipped = torch.rand(len(rows), generator=draws.torch) < 0.5
        return augment.mirror(torch.zeros(len(rows), 1, 1, 1), points, self.twins, flipped)[1]

    def kept(self, name: str) -> HeldOut:
        """Return all mouths of a set that is not trained on, off by as much as the regressor's are; groups are clips."""
        parts = load_parts(self.path, name)
        rows = np.arange(len(parts.points))
        jitter = random_jitter(len(rows), torch.Generator().manual_seed(1), turn=0.6, scale=0.02, shift=0.015)
        pictures, points = self._cut(parts, rows, *jitter)
        return HeldOut(pictures * 2 - 1, points, torch.from_numpy(parts.groups))

    def _cut(self, parts: PartSet, rows: np.ndarray, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(parts.pictures[rows]).permute(0, 3, 1, 2).float() / 255
        return augment.cut_crops(pictures, torch.from_numpy(parts.points[rows]), self.size, 1 / CROP_MARGIN, *jitter)


def mouth_loss(predicted: Tensor, target: Tensor, movement: float) -> Tensor:
    """Return the distance of points, and of how lips, corners and chin lie to each other, as it is and as it differs within a
    group.

    Args:
        predicted, target: (B, P, 3), groups of ``GROUP`` following each other.
    """
    weights = torch.ones(target.shape[1], device=target.device)
    weights[LIPS.to(target.device)] = 2.5
    error = F.smooth_l1_loss(predicted, target, beta=0.02, reduction="none")
    points = (error * error.new_tensor([1, 1, 1 / 3]) * (weights / weights.mean())[:, None]).mean()
    first, second = VECTORS.to(target.device).T
    off = (predicted - target)[..., :2]
    return points + movement * movement_error(off[:, first] - off[:, second], beta=0.01)


def measure_mouth_refiner(refiner: nn.Module, held_out: HeldOut) -> dict[str, float]:
    """Return the mean 2D error in percent of the eyes' distance, and how movement within a clip is seen: slope and
    correlation."""
    predicted = held_out.seen_by(refiner)
    error = (predicted - held_out.points)[..., :2].norm(dim=-1).mean() * SIDE / 2
    moved = movement_figures(predicted, held_out, {"opening": opening, "width": width, "corners": corners})
    return {"error": 100 * float(error), **moved}


def train(
    config: MouthTrainingConfig, until: int | None = None, model_config: SuperFaceTrackerConfig | None = None
) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``, and stretch what the network then sees.

    See :func:`.part.train_part`.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = MouthData(config, model_config.mouth_size, accelerator)
    refiner = channels_last(CropRefiner.of_mouth(model_config))
    if config.start is not None:
        refiner.load_state_dict(load_file(config.start))
    else:
        initialise_basis(refiner.shape, refiner.coefficients, data.jittered(4000, Draws.of(config.seed)))
    held_out = data.kept("val")
    part = Part(
        refiner,
        [(list(refiner.parameters()), config.learning_rate)],
        data,
        lambda network, batch: {"loss": mouth_loss(network(batch.pictures), batch.points, config.movement)},
        lambda network: measure_mouth_refiner(network, held_out),
        ema=0.998,
    )
    return train_part(part, config, accelerator, until, lambda network: settle(network, data))


def settle(refiner: nn.Module, data: MouthData) -> None:
    """Stretch opening and width of a trained refiner by the factors that held-out people need."""
    assert isinstance(refiner, CropRefiner)
    refiner.cpu()
    held_out = data.kept("tune")
    logger.info("before: %s", measure_mouth_refiner(refiner, held_out))
    factors = stretch(refiner, held_out.seen_by(refiner), held_out.points, held_out.groups, measures())
    logger.info("stretched by %s: %s", factors.tolist(), measure_mouth_refiner(refiner, held_out))
