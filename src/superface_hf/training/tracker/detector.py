"""Train the tracker's face detector::

    superface train tracker-detector --prepared .cache/prepared
    superface train tracker-detector --prepared .cache/prepared --set start=src/superface_hf/weights/tracker

The second command trains the detector of a tracker on; ``superface train tracker --set only_detector=true`` puts it in place.
Checkpoints are written every few minutes; the same command continues from the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...data.batch import Batch
from ...data.tracker import augment
from ...data.tracker.crops import FACELESS_TRAIN, all_sources, background_crops, faceless_pictures
from ...data.tracker.scenes import SceneMaker
from ...models.backbone import load_imagenet
from ...models.imagenet import imagenet_state
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.crops import FaceCrop
from ...models.tracker.detection import pixels_of, read_maps
from ...models.tracker.modeling_tracker import SuperFaceTrackerModel
from ...models.tracker.networks import DETECTOR_STRIDE, FaceDetector
from ...utils.settings import number
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from .part import DomainShares, Draws, Part, PartTrainingConfig, backbone_and_heads, train_part

GEOMETRY_WEIGHT = 0.5  # of the boxes' error beside the heatmap's
VALIDATION_SCENES = 200


@dataclass
class DetectorTrainingConfig(DomainShares, PartTrainingConfig):
    """How the detector is trained.

    Attributes:
        size: side of the scenes in pixels (the network takes any; smaller trains faster).
        learning_rate, backbone_rate: the highest rates of the heads and of the ImageNet-trained backbone.
        frozen_stages: stages (the stem with them) that keep their ImageNet weights.
        lookalikes: share of the scenes with windows, cars, sockets and such (``data.tracker.lookalikes``).
        start: a tracker's folder whose detector is trained on; without it the backbone starts with ImageNet's weights.
    """

    out: Path = Path("runs/tracker_detector")
    size: int = number(256, low=32)
    backbone_rate: float = number(5e-4, low=0)
    frozen_stages: int = number(2, low=0)
    clips: float = number(0.4, low=0)
    portraits_small: float = number(0.25, low=0)
    portraits_large: float = number(0.35, low=0)
    lookalikes: float = number(0.5, low=0, high=1)
    start: Path | None = None


@dataclass(eq=False)
class SceneBatch(Batch):
    """Scenes, and what the detector should give for them: see :func:`target_maps`.

    Attributes:
        pictures: (B, 3, S, S) in [-1, 1].
        heat, geometry, weight: (B, h, w), (B, 5, h, w) and (B, h, w).
    """

    pictures: Tensor
    heat: Tensor
    geometry: Tensor
    weight: Tensor


def target_maps(faces: list[list[FaceCrop]], cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make the detector's targets: heatmaps (B, h, w) in [0, 1], geometry (B, 5, h, w) and its weights (B, h, w)."""
    heat = np.zeros((len(faces), cells, cells), np.float32)
    geometry = np.zeros((len(faces), 5, cells, cells), np.float32)
    weight = np.zeros((len(faces), cells, cells), np.float32)
    y, x = np.mgrid[:cells, :cells] + 0.5
    for index, crops in enumerate(faces):
        for crop in crops:
            cx, cy, side = crop.x / DETECTOR_STRIDE, crop.y / DETECTOR_STRIDE, crop.size / DETECTOR_STRIDE
            spread = max(0.6, 0.07 * side)
            bump = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread**2)).astype(np.float32)
            row, column = min(int(cy), cells - 1), min(int(cx), cells - 1)
            bump[row, column] = 1.0
            values = [cx - x, cy - y, math.log(side), math.cos(crop.angle), math.sin(crop.angle)]
            nearer = (bump > heat[index]) & (bump > 0.3)
            for channel, value in enumerate(values):
                geometry[index, channel][nearer] = np.broadcast_to(value, nearer.shape)[nearer]
            weight[index][nearer] = bump[nearer]
            heat[index] = np.maximum(heat[index], bump)
    return torch.from_numpy(heat), torch.from_numpy(geometry), torch.from_numpy(weight)


def detector_loss(
    logits: Tensor, geometry: Tensor, heat: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return CenterNet's focal loss of the heatmap (equation 1 there), and L1 of the geometry near the centres."""
    chance = logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = heat == 1
    loss = torch.where(
        positive,
        -((1 - chance) ** 2) * chance.log(),
        -((1 - heat) ** 4) * chance**2 * (1 - chance).log(),
    )
    focal = loss.sum() / positive.sum().clamp(min=1)
    # Offsets and size are wanted to a small part of the face, turn as unit vectors: bring them to one scale.
    unit = torch.ones_like(target)
    unit[:, :2] = target[:, 2:3].exp() * 0.25
    error = ((geometry.float() - target) / unit).abs().sum(dim=1)
    return focal, (error * weight).sum() / weight.sum().clamp(min=1)


class DetectorData:
    """Augmented scenes in batches, and a fixed set of validation scenes made of held-out people."""

    def __init__(self, config: DetectorTrainingConfig) -> None:
        sources = all_sources(config.prepared, held_out=False, frames=16)
        random = np.random.default_rng(config.seed)  # the same backgrounds in every process
        faceless = faceless_pictures(FACELESS_TRAIN)
        # As many backgrounds from portraits as from those pictures.
        large = [source for source in sources if source.domain == "portraits_large"]
        parts = [part for source in large for part in background_crops(source, random, 2, smallest=96)]
        faceless = faceless * max(1, len(parts) // len(faceless) // 2) + parts
        self.batch, self.cells = config.batch, config.size // DETECTOR_STRIDE
        self.scenes = SceneMaker(sources, faceless, config.shares, config.size, config.seed, config.lookalikes)
        held_out = all_sources(config.prepared, held_out=True, frames=8)
        others = faceless_pictures(FACELESS_TRAIN)
        make = SceneMaker(held_out, others, config.shares, config.size, 1, config.lookalikes)
        self.validation = [make() for _ in range(VALIDATION_SCENES)]

    def __call__(self, draws: Draws) -> SceneBatch:
        """Give scenes random light, occlusions and degradations."""
        self.scenes.random = draws.numpy
        squares, faces = zip(*(self.scenes() for _ in range(self.batch)), strict=True)
        pictures = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        pictures = augment.random_light(pictures, draws.torch)
        pictures = augment.random_occlusion(pictures, draws.torch, share=0.15)
        pictures = augment.random_degradation(pictures, draws.torch) * 2 - 1
        return SceneBatch(pictures, *target_maps(list(faces), self.cells))


@torch.no_grad()
def measure_detector(detector: nn.Module, scenes: list[tuple[np.ndarray, list[FaceCrop]]]) -> dict[str, float]:
    """Return the recall (a detection within a quarter of the face and of about its size) and false finds per scene, at 0.3."""
    detector.eval()
    found, total, wrong = 0, 0, 0
    like = next(detector.parameters())
    for start in range(0, len(scenes), 20):
        part = scenes[start : start + 20]
        pixels = pixels_of([square for square, _ in part], like)
        logits, geometry = detector(pixels.contiguous(memory_format=torch.channels_last))
        for detections, (_, faces) in zip(read_maps(logits, geometry, 0.3, 20), part, strict=True):
            matched: set[int] = set()
            for face in faces:
                for index, detection in enumerate(detections):
                    crop = detection.crop
                    near = math.hypot(crop.x - face.x, crop.y - face.y) < 0.25 * face.size
                    if near and abs(math.log(crop.size / face.size)) < 0.4:
                        matched.add(index)
                        found += 1
                        break
            total += len(faces)
            wrong += len(detections) - len(matched)
    return {"recall": found / max(total, 1), "wrong": wrong / len(scenes)}


def train(
    config: DetectorTrainingConfig, until: int | None = None, model_config: SuperFaceTrackerConfig | None = None
) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``; see :func:`.part.train_part`."""
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = DetectorData(config)
    detector = channels_last(FaceDetector(model_config or SuperFaceTrackerConfig()))
    if config.start is not None:
        detector.load_state_dict(SuperFaceTrackerModel.from_pretrained(config.start).detector.state_dict())
    else:
        load_imagenet(detector.backbone, imagenet_state())
        # Nearly all places show no face: starting there spares the first steps.
        assert detector.heatmap.bias is not None
        nn.init.constant_(detector.heatmap.bias, -4.0)

    def loss(network: nn.Module, batch: SceneBatch) -> dict[str, Tensor]:
        logits, found = network(batch.pictures.contiguous(memory_format=torch.channels_last))
        heatmap, geometry = detector_loss(logits, found, batch.heat, batch.geometry, batch.weight)
        return {"loss": heatmap + GEOMETRY_WEIGHT * geometry, "heatmap": heatmap, "geometry": geometry}

    part = Part(
        detector,
        backbone_and_heads(detector, config.backbone_rate, config.learning_rate),
        data,
        loss,
        lambda network: measure_detector(network, data.validation),
        ema=0.995,
        warmup=30,
        clip_norm=5.0,
        frozen_stages=config.frozen_stages,
    )
    return train_part(part, config, accelerator, until)
