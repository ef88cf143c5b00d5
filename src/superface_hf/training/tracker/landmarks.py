"""Trains the tracker's landmark regressor::

    superface train tracker-landmarks --prepared .cache/prepared

Checkpoints are written every few minutes; the same command goes on from the last one.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.tracker import augment as augment
from ...data.tracker.crops import CropSet, all_sources, build_crops, mirror_map
from ...face_model import topology
from ...models.backbone import load_imagenet
from ...models.imagenet import imagenet_state
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.networks import LandmarkRegressor
from ...utils.settings import number
from ..core.processes import accelerator_for
from ..core.run import channels_last
from .common import Averaged, Checkpoints, RandomDraws, TrainingClock, cached, freeze_stages, train_mode
from .negatives import mistaken_places, random_places

logger = logging.getLogger(__name__)


@dataclass
class LandmarkTrainingConfig:
    """How the landmark regressor is trained.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: checkpoints and log.
        cache: where upright crops are kept between runs.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch: pictures a step, of which ``negatives`` have no face (or not where it should be).
        learning_rate, backbone_rate: peak rates of the heads and of the ImageNet-trained backbone.
        frozen_stages: stages (the stem with them) that keep their ImageNet weights: they cost half of the time.
        crop_pixels, crop_margin: side of the kept crops in pixels, and over the face's longer side.
        clips, portraits_small, portraits_large: how much of training each domain gets.
        detector: a trained detector's weights: what it takes for a face and is none is shown as such.
    """

    prepared: Path = Path(".cache/prepared")
    out: Path = Path("runs/tracker_landmarks")
    cache: Path = Path(".cache/tracker")
    steps: int = number(1_000_000, low=1)
    minutes: float = number(40.0, low=0.01)
    batch: int = number(40, low=1)
    negatives: int = 7
    learning_rate: float = number(1.5e-3, low=0)
    backbone_rate: float = 1e-3
    weight_decay: float = 0.02
    frozen_stages: int = 2
    crop_pixels: int = 192
    crop_margin: float = 2.0
    clips: float = 0.5
    portraits_small: float = 0.27
    portraits_large: float = 0.23
    detector: Path | None = None
    checkpoint_seconds: float = 150.0
    seed: int = 0

    @property
    def shares(self) -> dict[str, float]:
        return {
            "clips": self.clips,
            "portraits_small": self.portraits_small,
            "portraits_large": self.portraits_large,
        }


def point_weights() -> Tensor:
    """(478,) weights with mean 1: eyes with irises, lips and brows count more, as they carry the expression."""
    weights = torch.ones(topology.POINTS)
    for points in (topology.LEFT_EYE, topology.RIGHT_EYE, topology.LEFT_IRIS, topology.RIGHT_IRIS, topology.LIPS):
        weights[torch.from_numpy(points)] = 2.5
    for points in (topology.LEFT_BROW, topology.RIGHT_BROW):
        weights[torch.from_numpy(points)] = 1.5
    return weights / weights.mean()


def landmark_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Wing loss (Feng et al. 2018) of points in units of the eye distance; depth counts a third.

    Args:
        predicted, target: (B, 478, 3); weights: (478,).
    """
    unit = (target[:, 33] - target[:, 263]).norm(dim=-1)[:, None, None]
    error = ((predicted - target) / unit).abs()
    width, curve = 0.15, 0.03
    offset = width - width * math.log(1 + width / curve)
    wing = torch.where(error < width, width * torch.log1p(error / curve), error - offset)
    return (wing * wing.new_tensor([1, 1, 1 / 3]) * weights[:, None]).mean()


@torch.no_grad()
def initialise_mesh(regressor: LandmarkRegressor, points: Tensor) -> None:
    """Starts the last layer as mean and principal components of jittered training meshes (N, 478, 3)."""
    flat = points.flatten(1)
    mean = flat.mean(dim=0)
    count = regressor.mesh.in_features
    _, values, vectors = torch.pca_lowrank(flat - mean, q=count, center=False)
    scale = (values / math.sqrt(len(flat))).clamp(min=1e-4)
    regressor.mesh.weight.copy_(vectors * scale)
    regressor.mesh.bias.copy_(mean)
    nn.init.normal_(regressor.coefficients.weight, std=0.2 / math.sqrt(regressor.coefficients.in_features))
    nn.init.zeros_(regressor.coefficients.bias)
    nn.init.normal_(regressor.face.weight, std=0.01)
    nn.init.constant_(regressor.face.bias, 2.0)


class LandmarkData(RandomDraws):
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: LandmarkTrainingConfig, model: SuperFaceTrackerConfig, accelerator: Accelerator) -> None:
        self.size, self.batch, self.negatives = model.crop_size, config.batch, config.negatives
        self.zoom = model.crop_margin / config.crop_margin
        with accelerator.main_process_first():  # the others find its crops in the cache
            self.train, self.val = (self._crops(config, held_out) for held_out in (False, True))
        self.twins = torch.from_numpy(mirror_map(self.train.points))
        with accelerator.main_process_first():
            self.background = self._backgrounds(config, model)
        self.begin(config.seed, accelerator)

    @staticmethod
    def _crops(config: LandmarkTrainingConfig, held_out: bool) -> CropSet:
        frames = 24 if held_out else 40
        facts = (config.crop_pixels, config.crop_margin, config.shares, frames)
        path = cached(config.cache, f"{'val' if held_out else 'train'}.npz", config.prepared, *facts)
        if not path.exists():
            sources = all_sources(config.prepared, held_out, frames=frames)
            build_crops(sources, config.crop_pixels, config.crop_margin, config.shares).save(path)
        return CropSet.load(path)

    def _backgrounds(self, config: LandmarkTrainingConfig, model: SuperFaceTrackerConfig) -> list[np.ndarray]:
        """Places without a face, each (N, S, S, 3) uint8: random ones and, with a detector, those it falls for."""
        side = self.size * 3 // 2
        groups = []
        for name in ("random", "mistaken"):
            facts = (side, config.seed, str(config.detector) if name == "mistaken" else "")
            path = cached(config.cache, f"negatives_{name}.npy", config.prepared, *facts)
            if name == "mistaken" and config.detector is None:
                continue
            if not path.exists():
                sources = all_sources(config.prepared, False, frames=4)
                if name == "random":
                    coloured = [source for source in sources if source.domain != "portraits_small"]
                    places = random_places(coloured, side, np.random.default_rng(config.seed))
                else:
                    assert config.detector is not None
                    places = mistaken_places(config.detector, sources, model, side)
                np.save(path, places)
            places = np.load(path)
            logger.info("%d %s places without a face", len(places), name)
            if len(places):
                groups.append(places)
        return groups

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1], points (B, 478, 3) in crop units, and (B,) 1 for a face, 0 for none."""
        faces = self.batch - self.negatives
        chosen = self.random.choice(len(self.train.points), self.batch, p=self.train.weights)
        pictures = self._tensor(self.train.pictures[chosen])
        points = torch.from_numpy(self.train.points[chosen])
        flip = torch.rand(self.batch, generator=self.generator) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flip)
        turn, scale, shift = augment.random_similarity(self.batch, self.generator)
        # The last ones are no faces: a third show a face far from where it should be, the others none.
        direction = torch.rand(self.batch, generator=self.generator) * math.tau
        away = (1.1 + 0.5 * torch.rand(self.batch, generator=self.generator))[:, None]
        away = away * torch.stack([direction.cos(), direction.sin()], dim=1)
        is_face = torch.arange(self.batch) < faces
        shift = torch.where(is_face[:, None], shift, away)
        pictures, points = augment.cut_crops(pictures, points, self.size, self.zoom, turn, scale, shift)
        for index in range(faces, self.batch - self.negatives // 3):
            group = self.background[index % len(self.background)]
            place = self._tensor(group[self.random.integers(len(group))][None])
            pictures[index] = F.interpolate(place, (self.size, self.size), mode="area")[0]
        pictures = augment.random_light(pictures, self.generator)
        pictures = augment.random_occlusion(pictures, self.generator)
        pictures = augment.random_degradation(pictures, self.generator)
        return pictures * 2 - 1, points, is_face.float()

    def validation(self) -> tuple[Tensor, Tensor, Tensor]:
        """All validation crops, off by as much as the tracker's own, without further augmentation; weights as well."""
        generator = torch.Generator().manual_seed(1)
        count = len(self.val.points)
        turn = torch.randn(count, generator=generator) * math.radians(3)
        scale = torch.exp(torch.randn(count, generator=generator) * 0.03)
        shift = torch.randn(count, 2, generator=generator) * 0.03
        pictures, points = augment.cut_crops(
            self._tensor(self.val.pictures), torch.from_numpy(self.val.points), self.size, self.zoom, turn, scale, shift
        )
        return pictures * 2 - 1, points, torch.from_numpy(self.val.weights)

    @staticmethod
    def _tensor(pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def validate(regressor: nn.Module, pictures: Tensor, points: Tensor, weights: Tensor) -> dict[str, float]:
    """Mean 2D error in percent of the eye distance, for each domain (told apart by their sampling weights)."""
    regressor.eval()
    predicted = torch.cat([regressor(part.to(memory_format=torch.channels_last))[0] for part in pictures.split(64)])
    error = (predicted - points)[..., :2].norm(dim=-1).mean(dim=1)
    error = 100 * error / (points[:, 33, :2] - points[:, 263, :2]).norm(dim=-1).clamp(min=1e-3)
    return {"val_error": float((error * weights).sum() / weights.sum()), "val_median": float(error.median())}


def train(config: LandmarkTrainingConfig, model_config: SuperFaceTrackerConfig | None = None) -> Path:
    """Trains until steps or minutes are over.

    Returns:
        The file with the averaged weights of the regressor.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = LandmarkData(config, model_config, accelerator)
    regressor = channels_last(LandmarkRegressor(model_config))
    load_imagenet(regressor.backbone, imagenet_state())
    some = np.random.default_rng(0).choice(len(data.train.points), 6000)
    jitter = augment.random_similarity(len(some), torch.Generator().manual_seed(2))
    blank = torch.zeros(len(some), 3, 2, 2)
    meshes = augment.cut_crops(blank, torch.from_numpy(data.train.points[some]), 2, data.zoom, *jitter)[1]
    initialise_mesh(regressor, meshes)
    freeze_stages(regressor.backbone, config.frozen_stages)

    backbone = [p for p in regressor.backbone.parameters() if p.requires_grad]
    heads = [p for name, p in regressor.named_parameters() if not name.startswith("backbone.")]
    optimizer = torch.optim.AdamW(
        [{"params": backbone, "peak": config.backbone_rate}, {"params": heads, "peak": config.learning_rate}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    regressor, optimizer = accelerator.prepare(regressor, optimizer)
    averaged = Averaged(accelerator.unwrap_model(regressor), decay=0.998)
    clock = TrainingClock(config.steps, config.minutes)
    checkpoints = Checkpoints(config.out, accelerator, averaged, clock, config.checkpoint_seconds, data)
    checkpoints.resume()
    weights = point_weights().to(accelerator.device)
    held_out = data.validation()

    while not clock.over:
        pictures, points, is_face = (tensor.to(accelerator.device) for tensor in data())
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * clock.rate()
        train_mode(regressor, config.frozen_stages)
        predicted, logit = regressor(pictures.to(memory_format=torch.channels_last))
        face = is_face > 0
        mesh_loss = landmark_loss(predicted[face], points[face], weights)
        face_loss = F.binary_cross_entropy_with_logits(logit, is_face)
        accelerator.backward(mesh_loss + 0.02 * face_loss)
        accelerator.clip_grad_norm_(regressor.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses = {"mesh": float(mesh_loss.detach()), "face": float(face_loss.detach())}
        checkpoints.step(losses, lambda: validate(averaged.model, *held_out))
    return checkpoints.weights
