"""Train the tracker's landmark regressor::

    superface train tracker-landmarks --prepared .cache/prepared

Checkpoints are written every few minutes; the same command continues from the last one.
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

from ...data.caching import cached
from ...data.tracker import augment
from ...data.tracker.crops import CropSet, all_sources, build_crops, mirror_map
from ...face_model import topology
from ...models.backbone import load_imagenet
from ...models.imagenet import imagenet_state
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.networks import LandmarkRegressor
from ...utils.settings import number
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from .negatives import mistaken_places, random_places
from .part import DomainShares, Draws, Part, PartTrainingConfig, backbone_and_heads, train_part
from .parts import CropBatch, initialise_basis, jittered_points

logger = logging.getLogger(__name__)

FACE_WEIGHT = 0.02  # of the face score's error beside the points'


@dataclass
class LandmarkTrainingConfig(DomainShares, PartTrainingConfig):
    """How the landmark regressor is trained.

    Attributes:
        cache: where upright crops are kept between runs.
        negatives: pictures of the batch that have no face (or not where it should be).
        learning_rate, backbone_rate: the highest rates of the heads and of the ImageNet-trained backbone.
        frozen_stages: stages (the stem with them) that keep their ImageNet weights: they cost half of the time.
        crop_pixels, crop_margin: side of the kept crops in pixels, and over the face's longer side.
        detector: a trained detector's weights: what it takes for a face and is none is shown as such.
    """

    out: Path = Path("runs/tracker_landmarks")
    cache: Path = Path(".cache/tracker")
    minutes: float = number(40.0, low=0.01)
    batch: int = number(40, low=1)
    negatives: int = number(7, low=0)
    learning_rate: float = number(1.5e-3, low=0)
    backbone_rate: float = number(1e-3, low=0)
    frozen_stages: int = number(2, low=0)
    crop_pixels: int = number(192, low=16)
    crop_margin: float = number(2.0, low=1)
    detector: Path | None = None


@dataclass(eq=False)
class FaceBatch(CropBatch):
    """Crops that show a face or none.

    Attributes:
        is_face: (B,) 1 for a face, 0 for none.
    """

    is_face: Tensor


@dataclass(eq=False)
class HeldOutFaces(CropBatch):
    """Crops of people who are not trained on.

    Attributes:
        weights: (B,) how much each counts.
    """

    weights: Tensor


def point_weights() -> Tensor:
    """Return weights (478,) with mean 1: eyes with irises, lips and brows count more, as they carry the expression."""
    weights = torch.ones(topology.POINTS)
    for points in (topology.LEFT_EYE, topology.RIGHT_EYE, topology.LEFT_IRIS, topology.RIGHT_IRIS, topology.LIPS):
        weights[torch.from_numpy(points)] = 2.5
    for points in (topology.LEFT_BROW, topology.RIGHT_BROW):
        weights[torch.from_numpy(points)] = 1.5
    return weights / weights.mean()


def landmark_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the wing loss (Feng et al. 2018) of points in units of the eye distance; depth counts a third.

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
    """Start the mesh as mean and principal components of jittered training meshes (N, 478, 3), and the face score as sure."""
    initialise_basis(regressor.mesh, regressor.coefficients, points)
    nn.init.normal_(regressor.face.weight, std=0.01)
    nn.init.constant_(regressor.face.bias, 2.0)


class LandmarkData:
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: LandmarkTrainingConfig, model: SuperFaceTrackerConfig, accelerator: Accelerator) -> None:
        self.size, self.batch, self.negatives = model.crop_size, config.batch, config.negatives
        self.zoom = model.crop_margin / config.crop_margin
        with accelerator.main_process_first():  # the others find its crops in the cache
            self.train, self.val = (self._crops(config, held_out) for held_out in (False, True))
        self.twins = torch.from_numpy(mirror_map(self.train.points))
        with accelerator.main_process_first():
            self.background = self._backgrounds(config, model)

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
        """Return places without a face, each (N, S, S, 3) uint8: random ones and, with a detector, those that it mistakes
        for faces."""
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

    def __call__(self, draws: Draws) -> FaceBatch:
        """Return the square crops; the last ones of the batch show no face where it should be."""
        generator, faces = draws.torch, self.batch - self.negatives
        chosen = draws.numpy.choice(len(self.train.points), self.batch, p=self.train.weights)
        pictures = self._tensor(self.train.pictures[chosen])
        points = torch.from_numpy(self.train.points[chosen])
        flip = torch.rand(self.batch, generator=generator) < 0.5
        pictures, points = augment.mirror(pictures, points, self.twins, flip)
        turn, scale, shift = augment.random_similarity(self.batch, generator)
        # The last ones are no faces: a third show a face far from where it should be, the others none.
        direction = torch.rand(self.batch, generator=generator) * math.tau
        away = (1.1 + 0.5 * torch.rand(self.batch, generator=generator))[:, None]
        away = away * torch.stack([direction.cos(), direction.sin()], dim=1)
        is_face = torch.arange(self.batch) < faces
        shift = torch.where(is_face[:, None], shift, away)
        pictures, points = augment.cut_crops(pictures, points, self.size, self.zoom, turn, scale, shift)
        for index in range(faces, self.batch - self.negatives // 3):
            group = self.background[index % len(self.background)]
            place = self._tensor(group[draws.numpy.integers(len(group))][None])
            pictures[index] = F.interpolate(place, (self.size, self.size), mode="area")[0]
        pictures = augment.random_light(pictures, generator)
        pictures = augment.random_occlusion(pictures, generator)
        pictures = augment.random_degradation(pictures, generator)
        return FaceBatch(pictures * 2 - 1, points, is_face.float())

    def validation(self) -> HeldOutFaces:
        """Return all validation crops, off by as much as the tracker's own, without further augmentation."""
        generator = torch.Generator().manual_seed(1)
        count = len(self.val.points)
        turn = torch.randn(count, generator=generator) * math.radians(3)
        scale = torch.exp(torch.randn(count, generator=generator) * 0.03)
        shift = torch.randn(count, 2, generator=generator) * 0.03
        pictures, points = augment.cut_crops(
            self._tensor(self.val.pictures), torch.from_numpy(self.val.points), self.size, self.zoom, turn, scale, shift
        )
        return HeldOutFaces(pictures * 2 - 1, points, torch.from_numpy(self.val.weights))

    @staticmethod
    def _tensor(pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def measure_regressor(regressor: nn.Module, held_out: HeldOutFaces) -> dict[str, float]:
    """Return the 2D errors in percent of the eye distance: the mean by the crops' weights, and the median."""
    regressor.eval()
    device = next(regressor.parameters()).device
    parts = [part.to(device, memory_format=torch.channels_last) for part in held_out.pictures.split(64)]
    predicted = torch.cat([regressor(part)[0].cpu() for part in parts])
    points, weights = held_out.points, held_out.weights
    error = (predicted - points)[..., :2].norm(dim=-1).mean(dim=1)
    error = 100 * error / (points[:, 33, :2] - points[:, 263, :2]).norm(dim=-1).clamp(min=1e-3)
    return {"error": float((error * weights).sum() / weights.sum()), "median": float(error.median())}


def train(
    config: LandmarkTrainingConfig, until: int | None = None, model_config: SuperFaceTrackerConfig | None = None
) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``; see :func:`.part.train_part`."""
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = LandmarkData(config, model_config, accelerator)
    regressor = channels_last(LandmarkRegressor(model_config))
    load_imagenet(regressor.backbone, imagenet_state())
    initialise_mesh(regressor, jittered_meshes(data))
    weights, held_out = point_weights().to(accelerator.device), data.validation()

    def loss(network: nn.Module, batch: FaceBatch) -> dict[str, Tensor]:
        predicted, logit = network(batch.pictures.contiguous(memory_format=torch.channels_last))
        face = batch.is_face > 0
        mesh = landmark_loss(predicted[face], batch.points[face], weights)
        score = F.binary_cross_entropy_with_logits(logit, batch.is_face)
        return {"loss": mesh + FACE_WEIGHT * score, "mesh": mesh, "face": score}

    part = Part(
        regressor,
        backbone_and_heads(regressor, config.backbone_rate, config.learning_rate),
        data,
        loss,
        lambda network: measure_regressor(network, held_out),
        ema=0.998,
        frozen_stages=config.frozen_stages,
    )
    return train_part(part, config, accelerator, until)


def jittered_meshes(data: LandmarkData, count: int = 6000) -> Tensor:
    """Return the training meshes (N, 478, 3) in units of crops that are off as the tracker's may be."""
    some = np.random.default_rng(0).choice(len(data.train.points), count)
    jitter = augment.random_similarity(count, torch.Generator().manual_seed(2))
    return jittered_points(torch.from_numpy(data.train.points[some]), data.zoom, *jitter)
