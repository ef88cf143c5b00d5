"""Trains the tracker's mouth refiner::

    superface train tracker-mouth --prepared .cache/prepared

Checkpoints are written every few minutes; the same command goes on from the last one.
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

from ...data.tracker import augment
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.mouth import SIDE
from ...models.tracker.networks import CropRefiner
from ...utils.files import write_tensors
from ...utils.settings import number
from ..core.processes import accelerator_for
from ..core.run import channels_last
from .common import Averaged, Checkpoints, RandomDraws, TrainingClock, cached
from .mouth_crops import CROP_MARGIN, MouthCropsConfig, gather
from .mouth_measures import LIPS, VECTORS, corners, measures, mirror_places, opening, width
from .parts import (
    GroupSampler,
    PartSet,
    initialise_shape,
    load_parts,
    movement_error,
    random_jitter,
    slope_and_correlation,
    stretch,
    within_groups,
)

logger = logging.getLogger(__name__)


@dataclass
class MouthTrainingConfig:
    """How the mouth refiner is trained.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: checkpoints and log.
        cache: where the crops of mouths are kept between runs; crops: which are gathered.
        start: weights of a refiner to go on from.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch: mouths a step, a multiple of ``parts.GROUP``.
        movement: weight of how lips, corners and chin lie to each other (and of how that differs within a clip) beside the
            points.
    """

    prepared: Path = Path(".cache/prepared")
    out: Path = Path("runs/tracker_mouth")
    cache: Path = Path(".cache/tracker_mouth")
    crops: MouthCropsConfig = field(default_factory=MouthCropsConfig)
    start: Path | None = None
    steps: int = number(1_000_000, low=1)
    minutes: float = number(45.0, low=0.01)
    batch: int = number(64, low=1)
    learning_rate: float = number(3e-3, low=0)
    weight_decay: float = 0.02
    movement: float = 1.0
    checkpoint_seconds: float = 120.0
    seed: int = 0


class MouthData(RandomDraws):
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: MouthTrainingConfig, size: int, accelerator: Accelerator) -> None:
        self.size, self.batch = size, config.batch
        self.path = cached(config.cache, "crops.npz", config.prepared, config.crops)
        with accelerator.main_process_first():  # the others find its crops in the cache
            if not self.path.exists():
                gather(self.path, config.prepared, config.crops)
        self.train = load_parts(self.path, "train")
        self.begin(config.seed, accelerator)
        self.draw = GroupSampler(self.train, self.random)
        self.twins = mirror_places()

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] and points (B, P, 3) in units of the crop."""
        rows = self.draw(self.batch)
        jitter = random_jitter(len(rows), self.generator, turn=2.5, scale=0.04, shift=0.03)
        pictures, points = self._cut(self.train, rows, *jitter)
        flipped = torch.rand(len(rows), generator=self.generator) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flipped)
        pictures = augment.random_light(pictures, self.generator)
        pictures = augment.random_occlusion(pictures, self.generator, share=0.1)
        pictures = augment.random_degradation(pictures, self.generator)
        return pictures * 2 - 1, points

    def kept(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """All mouths of a set that is not trained on, off by as much as the regressor's are, and the clip of each."""
        parts = load_parts(self.path, name)
        rows = np.arange(len(parts.points))
        jitter = random_jitter(len(rows), torch.Generator().manual_seed(1), turn=0.6, scale=0.02, shift=0.015)
        pictures, points = self._cut(parts, rows, *jitter)
        return pictures * 2 - 1, points, torch.from_numpy(parts.groups)

    def _cut(self, parts: PartSet, rows: np.ndarray, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(parts.pictures[rows]).permute(0, 3, 1, 2).float() / 255
        return augment.cut_crops(pictures, torch.from_numpy(parts.points[rows]), self.size, 1 / CROP_MARGIN, *jitter)


def mouth_loss(predicted: Tensor, target: Tensor, movement: float) -> Tensor:
    """Distance of points, and of how lips, corners and chin lie to each other, as it is and as it differs within a group.

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


@torch.no_grad()
def validate(refiner: nn.Module, pictures: Tensor, points: Tensor, groups: Tensor) -> dict[str, float]:
    """Mean 2D error in percent of the eyes' distance, and how movement within a clip is seen: slope and correlation."""
    refiner.eval()
    predicted = torch.cat([refiner(part) for part in pictures.split(128)])
    error = (predicted - points)[..., :2].norm(dim=-1).mean() * SIDE / 2
    figures = {"val_error": 100 * float(error)}
    for name, state in (("opening", opening), ("width", width), ("corners", corners)):
        seen, true = (within_groups(state(mesh), groups) for mesh in (predicted, points))
        figures[f"val_{name}_slope"], figures[f"val_{name}_correlation"] = slope_and_correlation(seen, true)
    return figures


def train(config: MouthTrainingConfig, model_config: SuperFaceTrackerConfig | None = None) -> Path:
    """Trains until steps or minutes are over.

    Returns:
        The file with the refiner's weights: the average of the last steps', stretched.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = MouthData(config, model_config.mouth_size, accelerator)
    refiner = channels_last(CropRefiner.of_mouth(model_config))
    if config.start is not None:
        refiner.load_state_dict(load_file(config.start))
    else:
        initialise_shape(refiner, torch.cat([data()[1] for _ in range(max(1, 4000 // config.batch))]))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    refiner, optimizer = accelerator.prepare(refiner, optimizer)
    averaged = Averaged(accelerator.unwrap_model(refiner), decay=0.998)
    clock = TrainingClock(config.steps, config.minutes)
    checkpoints = Checkpoints(config.out, accelerator, averaged, clock, config.checkpoint_seconds, data)
    checkpoints.resume()
    held_out = data.kept("val")
    while not clock.over:
        pictures, points = (tensor.to(accelerator.device) for tensor in data())
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * clock.rate()
        refiner.train()
        loss = mouth_loss(refiner(pictures), points, config.movement)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        checkpoints.step({"loss": float(loss.detach())}, lambda: validate(averaged.model, *held_out))
    weights = config.out / "weights.safetensors"
    if accelerator.is_main_process:
        last = CropRefiner.of_mouth(model_config)
        last.load_state_dict(averaged.model.state_dict())
        settle(last, data)
        write_tensors(weights, {name: tensor.contiguous() for name, tensor in last.state_dict().items()})
    accelerator.wait_for_everyone()
    return weights


def settle(refiner: CropRefiner, data: MouthData) -> None:
    """Stretches opening and width as a trained refiner sees them by what people kept apart show to be missing."""
    pictures, points, groups = data.kept("tune")
    logger.info("before: %s", validate(refiner, pictures, points, groups))
    with torch.no_grad():
        seen = torch.cat([refiner(part) for part in pictures.split(128)])
    factors = stretch(refiner, seen, points, groups, measures())
    logger.info("stretched by %s: %s", factors.tolist(), validate(refiner, pictures, points, groups))
