"""Trains the tracker's mouth refiner on the crops of ``tracker_mouth_crops``::

    python -m superface_hf.training.tracker_mouth --crops mouth_crops.npz --out runs/tracker_mouth --minutes 45

Runs on a graphics card where there is one, all augmentation included, and needs nothing but torch, numpy and pillow beside
this package. Checkpoints are written every few minutes; the same command goes on from the last one.
"""

from __future__ import annotations

import argparse
import logging
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from ..face_model import topology
from ..face_model.linear import FaceModel
from ..files import write_tensors
from ..models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ..models.tracker.mouth import MOUTH_POINTS, SIDE
from ..models.tracker.networks import CropRefiner
from . import tracker_augment as augment
from .tracker_common import Averaged, Checkpoints, PlainState, TrainingClock
from .tracker_parts import (
    GroupSampler,
    PartSet,
    initialise_shape,
    load_parts,
    movement_error,
    random_jitter,
    refit,
    slope_and_correlation,
    stretch,
    within_groups,
)

logger = logging.getLogger(__name__)
# Side of the packed crops over the network's.
CROP_MARGIN = 1.35
_PLACE = {int(point): place for place, point in enumerate(MOUTH_POINTS)}


def _places(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor([[_PLACE[first], _PLACE[second]] for first, second in pairs])


def _across(ring: np.ndarray) -> list[tuple[int, int]]:
    """Upper and lower points of a ring that face each other."""
    half = len(ring) // 2
    return [(int(ring[-step]), int(ring[step])) for step in range(1, half)]


_GAPS = _places([*topology.INNER_LIPS])
_CORNERS = _places([(61, 291)])[0]
_LIPS = torch.tensor([_PLACE[int(point)] for point in topology.LIPS])
# What a mouth does, as vectors between its points: how far the lips are apart and how thick, how wide it is, and where the
# corners, the lips and the chin are from the nose and from each other.
_VECTORS = _places(
    [*_across(topology.LIPS_INNER), *_across(topology.LIPS_OUTER)]
    + [(61, 291), (78, 308), (40, 270), (91, 321), (37, 267), (84, 314)]
    + [(0, 13), (37, 82), (267, 312), (14, 17), (87, 84), (317, 314)]
    + [(2, 0), (2, 61), (2, 291), (17, 152), (61, 17), (291, 17), (2, 152)]
)


@dataclass
class MouthTrainingConfig:
    """How the mouth refiner is trained.

    Attributes:
        crops: the file of ``tracker_mouth_crops``; out: checkpoints and log.
        device: where; by itself a graphics card if there is one.
        start: weights of a refiner to go on from.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch: mouths a step, a multiple of ``tracker_parts.GROUP``; 0: as many as suit the device.
        refit: batches for the least squares that end the training (see ``tracker_parts.refit``); 0: none.
        movement: weight of how lips, corners and chin lie to each other (and of how that differs within a clip) beside the
            points.
    """

    crops: Path
    out: Path = Path("runs/tracker_mouth")
    start: Path | None = None
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    steps: int = 1_000_000
    minutes: float = 45.0
    batch: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    refit: int = 288
    movement: float = 1.0
    checkpoint_seconds: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.batch = self.batch or (256 if self.device.startswith("cuda") else 64)


def opening(points: Tensor) -> Tensor:
    """(B,) mean gap between the inner lips in distances of the eyes, of points (B, P, 3) in units of the network's crop."""
    return (points[:, _GAPS[:, 0]] - points[:, _GAPS[:, 1]])[..., :2].norm(dim=-1).mean(1) * SIDE / 2


def height(points: Tensor) -> Tensor:
    """(B,) distance of the lips' outer edges in the middle, as :func:`opening`."""
    return (points[:, _PLACE[0]] - points[:, _PLACE[17]])[..., :2].norm(dim=-1) * SIDE / 2


def width(points: Tensor) -> Tensor:
    """(B,) distance of the corners, as :func:`opening`."""
    return (points[:, _CORNERS[0]] - points[:, _CORNERS[1]])[..., :2].norm(dim=-1) * SIDE / 2


def corners(points: Tensor) -> Tensor:
    """(B, 2) how far each corner is below the lips' middle, as :func:`opening`: smiles, frowns, and one-sided ones."""
    middle = points[:, _LIPS, 1].mean(1, keepdim=True)
    return (points[:, _CORNERS, 1] - middle) * SIDE / 2


def measures() -> Tensor:
    """(2, P * 3) opening and width of an upright mouth as sums of coordinates, in units of the crop."""
    sums = torch.zeros(2, len(MOUTH_POINTS), 3)
    for upper, lower in _GAPS.tolist():
        sums[0, upper, 1] -= 1 / len(_GAPS)
        sums[0, lower, 1] += 1 / len(_GAPS)
    sums[1, _CORNERS, 0] = torch.tensor([-1.0, 1.0])
    return sums.flatten(1)


def mirror_places() -> Tensor:
    """(P,) the place of each point's twin on the other side of the face."""
    mean = FaceModel.default().mean[torch.from_numpy(MOUTH_POINTS)]
    twins = torch.cdist(mean * mean.new_tensor([-1, 1, 1]), mean).argmin(1)
    assert (twins[twins] == torch.arange(len(twins))).all()
    return twins


class MouthData:
    """Draws augmented batches from crops that lie on the device."""

    def __init__(self, config: MouthTrainingConfig, size: int) -> None:
        self.size, self.batch, self.device = size, config.batch, torch.device(config.device)
        self.crops = config.crops
        train = load_parts(config.crops, "train")
        self.draw = GroupSampler(train, config.seed)
        self.train = self._tensors(train)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.twins = mirror_places().to(self.device)

    def _tensors(self, parts: PartSet) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(parts.pictures).permute(0, 3, 1, 2).contiguous()
        return pictures.to(self.device), torch.from_numpy(parts.points).to(self.device)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] and points (B, P, 3) in units of the crop."""
        rows = torch.from_numpy(self.draw(self.batch)).to(self.device)
        jitter = random_jitter(len(rows), self.generator, turn=2.5, scale=0.04, shift=0.03)
        pictures, points = self._cut(self.train, rows, *jitter)
        flipped = torch.rand(len(rows), generator=self.generator, device=self.device) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flipped)
        pictures = augment.random_light(pictures, self.generator)
        pictures = augment.random_occlusion(pictures, self.generator, share=0.1)
        pictures = augment.random_degradation(pictures, self.generator)
        return pictures * 2 - 1, points

    def kept(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """All mouths of a set that is not trained on, off by as much as the regressor's are, and the clip of each."""
        parts = load_parts(self.crops, name)
        count = len(parts.points)
        jitter = random_jitter(count, torch.Generator().manual_seed(1), turn=0.6, scale=0.02, shift=0.015)
        everything, rows = self._tensors(parts), torch.arange(count, device=self.device)
        pictures, points = self._cut(everything, rows, *(each.to(self.device) for each in jitter))
        return pictures * 2 - 1, points, torch.from_numpy(parts.groups).to(self.device)

    def _cut(self, parts: tuple[Tensor, Tensor], rows: Tensor, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures, points = (tensor[rows].float() for tensor in parts)
        return augment.cut_crops(pictures / 255, points, self.size, 1 / CROP_MARGIN, *jitter)


def mouth_loss(predicted: Tensor, target: Tensor, movement: float) -> Tensor:
    """Distance of points, and of how lips, corners and chin lie to each other, as it is and as it differs within a group.

    Args:
        predicted, target: (B, P, 3), groups of ``GROUP`` following each other.
    """
    weights = torch.ones(target.shape[1], device=target.device)
    weights[_LIPS.to(target.device)] = 2.5
    error = F.smooth_l1_loss(predicted, target, beta=0.02, reduction="none")
    points = (error * error.new_tensor([1, 1, 1 / 3]) * (weights / weights.mean())[:, None]).mean()
    first, second = _VECTORS.to(target.device).T
    off = (predicted - target)[..., :2]
    return points + movement * movement_error(off[:, first] - off[:, second], beta=0.01)


@torch.no_grad()
def validate(refiner: CropRefiner, pictures: Tensor, points: Tensor, groups: Tensor) -> dict[str, float]:
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
        The file with the refiner's weights: the average of the last steps', refitted and stretched.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    torch.manual_seed(config.seed)
    data = MouthData(config, model_config.mouth_size)
    refiner = CropRefiner.of_mouth(model_config).to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.start is not None:
        refiner.load_state_dict(load_file(config.start))
    else:
        initialise_shape(refiner, torch.cat([data()[1] for _ in range(max(1, 4000 // config.batch))]))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    averaged = Averaged(refiner, decay=0.998)
    clock = TrainingClock(config.steps, config.minutes)
    checkpoints = Checkpoints(config.out, PlainState(refiner, optimizer), averaged, clock, config.checkpoint_seconds)
    checkpoints.resume()
    held_out = data.kept("val")
    while not clock.over:
        pictures, points = data()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * clock.rate()
        refiner.train()
        with torch.autocast(data.device.type, torch.bfloat16):
            features = refiner.features(pictures.contiguous(memory_format=torch.channels_last))
        # The points stay in single precision: half of it would not tell a hundredth of a lip.
        loss = mouth_loss(refiner.read(features.float()), points, config.movement)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        checkpoints.step({"loss": float(loss.detach())}, lambda: validate(averaged.model, *held_out))  # type: ignore[arg-type]
    weights = config.out / "weights.safetensors"
    refiner = settled(typing.cast(CropRefiner, averaged.model), data, config.refit)
    write_tensors(weights, {name: tensor.contiguous() for name, tensor in refiner.state_dict().items()})
    return weights


def settled(refiner: CropRefiner, data: MouthData, batches: int) -> CropRefiner:
    """A trained refiner with its last layers refitted on training mouths, and its movements stretched by what people kept
    apart show to be missing."""
    if batches:
        refit(refiner, (data() for _ in range(batches)))
    pictures, points, groups = data.kept("tune")
    figures = validate(refiner, pictures, points, groups)
    logger.info("refitted: %s", figures)
    with torch.no_grad():
        seen = torch.cat([refiner(part) for part in pictures.split(128)])
    factors = stretch(refiner, seen, points, groups, measures().to(seen))
    logger.info("stretched by %s: %s", factors.tolist(), validate(refiner, pictures, points, groups))
    return refiner


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=MouthTrainingConfig.out)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--device", default=MouthTrainingConfig.device)
    parser.add_argument("--minutes", type=float, default=MouthTrainingConfig.minutes)
    parser.add_argument("--steps", type=int, default=MouthTrainingConfig.steps)
    parser.add_argument("--batch", type=int, default=MouthTrainingConfig.batch)
    parser.add_argument("--refit", type=int, default=MouthTrainingConfig.refit)
    parser.add_argument("--seed", type=int, default=MouthTrainingConfig.seed)
    train(MouthTrainingConfig(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
