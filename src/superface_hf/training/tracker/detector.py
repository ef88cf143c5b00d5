"""Trains the tracker's face detector::

    superface train tracker-detector --prepared .cache/prepared
    superface train tracker-detector --prepared .cache/prepared --set start=src/superface_hf/weights/tracker

The second command trains the detector of a tracker on; ``superface train tracker --set only_detector=true`` puts it in place.
Checkpoints are written every few minutes; the same command goes on from the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...data.tracker import augment as augment
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
from ..core.processes import accelerator_for
from ..core.run import channels_last
from .common import Averaged, Checkpoints, RandomDraws, TrainingClock, freeze_stages, train_mode


@dataclass
class DetectorTrainingConfig:
    """How the detector is trained.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: checkpoints and log.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch, size: scenes a step and their side in pixels (the network takes any; smaller trains faster).
        learning_rate, backbone_rate: peak rates of the heads and of the ImageNet-trained backbone.
        frozen_stages: stages (the stem with them) that keep their ImageNet weights.
        clips, portraits_small, portraits_large: how many of the faces each domain gives.
        lookalikes: share of the scenes with windows, cars, sockets and such (``data.tracker.lookalikes``).
        start: a tracker's folder whose detector is trained on; without it the backbone starts with ImageNet's weights.
    """

    prepared: Path = Path(".cache/prepared")
    out: Path = Path("runs/tracker_detector")
    steps: int = number(1_000_000, low=1)
    minutes: float = number(15.0, low=0.01)
    batch: int = number(12, low=1)
    size: int = 256
    learning_rate: float = number(2e-3, low=0)
    backbone_rate: float = 5e-4
    weight_decay: float = 0.02
    frozen_stages: int = 2
    clips: float = 0.4
    portraits_small: float = 0.25
    portraits_large: float = 0.35
    lookalikes: float = number(0.5, low=0, high=1)
    start: Path | None = None
    checkpoint_seconds: float = 150.0
    seed: int = 0


def target_maps(faces: list[list[FaceCrop]], cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the detector should give: heatmaps (B, h, w) in [0, 1], geometry (B, 5, h, w) and its weights (B, h, w)."""
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
    """CenterNet's focal loss of the heatmap (equation 1 there), and L1 of the geometry near the centres."""
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


class DetectorData(RandomDraws):
    """Augmented scenes in batches, and a fixed set of validation scenes made of held-out people."""

    def __init__(self, config: DetectorTrainingConfig, accelerator: Accelerator) -> None:
        shares = {
            "clips": config.clips,
            "portraits_small": config.portraits_small,
            "portraits_large": config.portraits_large,
        }
        self.begin(config.seed, accelerator)
        sources = all_sources(config.prepared, held_out=False, frames=16)
        random = np.random.default_rng(config.seed)  # the same backgrounds in every process
        faceless = faceless_pictures(FACELESS_TRAIN)
        # As many backgrounds from portraits as from those pictures.
        large = [source for source in sources if source.domain == "portraits_large"]
        parts = [part for source in large for part in background_crops(source, random, 2, smallest=96)]
        faceless = faceless * max(1, len(parts) // len(faceless) // 2) + parts
        self.batch = config.batch
        self.scenes = SceneMaker(sources, faceless, shares, config.size, config.seed, config.lookalikes)
        self.scenes.random = self.random
        held_out = all_sources(config.prepared, held_out=True, frames=8)
        make = SceneMaker(held_out, faceless_pictures(FACELESS_TRAIN), shares, config.size, 1, config.lookalikes)
        self.validation = [make() for _ in range(200)]

    def __call__(self) -> tuple[Tensor, list[list[FaceCrop]]]:
        """(B, 3, S, S) in [-1, 1] and the faces of each scene."""
        squares, faces = zip(*(self.scenes() for _ in range(self.batch)), strict=True)
        pictures = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        pictures = augment.random_light(pictures, self.generator)
        pictures = augment.random_occlusion(pictures, self.generator, share=0.15)
        return augment.random_degradation(pictures, self.generator) * 2 - 1, list(faces)


@torch.no_grad()
def validate(detector: nn.Module, scenes: list[tuple[np.ndarray, list[FaceCrop]]]) -> dict[str, float]:
    """Recall (a detection within a quarter of the face and of about its size) and false finds per scene, at 0.3."""
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
    return {"val_recall": found / max(total, 1), "val_wrong": wrong / len(scenes)}


def train(config: DetectorTrainingConfig, model_config: SuperFaceTrackerConfig | None = None) -> Path:
    """Trains until steps or minutes are over.

    Returns:
        The file with the averaged weights of the detector.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = DetectorData(config, accelerator)
    detector = channels_last(FaceDetector(model_config))
    if config.start is not None:
        detector.load_state_dict(SuperFaceTrackerModel.from_pretrained(config.start).detector.state_dict())
    else:
        load_imagenet(detector.backbone, imagenet_state())
        # Nearly all places show no face: starting there spares the first steps.
        assert detector.heatmap.bias is not None
        nn.init.constant_(detector.heatmap.bias, -4.0)
    freeze_stages(detector.backbone, config.frozen_stages)
    backbone = [p for p in detector.backbone.parameters() if p.requires_grad]
    heads = [p for name, p in detector.named_parameters() if not name.startswith("backbone.")]
    optimizer = torch.optim.AdamW(
        [{"params": backbone, "peak": config.backbone_rate}, {"params": heads, "peak": config.learning_rate}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    detector, optimizer = accelerator.prepare(detector, optimizer)
    averaged = Averaged(accelerator.unwrap_model(detector), decay=0.995)
    clock = TrainingClock(config.steps, config.minutes, warmup=30)
    checkpoints = Checkpoints(config.out, accelerator, averaged, clock, config.checkpoint_seconds, data)
    checkpoints.resume()

    while not clock.over:
        pictures, faces = data()
        maps = [tensor.to(accelerator.device) for tensor in target_maps(faces, config.size // DETECTOR_STRIDE)]
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * clock.rate()
        train_mode(detector, config.frozen_stages)
        outputs = detector(pictures.to(accelerator.device).contiguous(memory_format=torch.channels_last))
        focal, geometry = detector_loss(*outputs, *maps)
        accelerator.backward(focal + 0.5 * geometry)
        accelerator.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        losses = {"heatmap": float(focal.detach()), "geometry": float(geometry.detach())}
        checkpoints.step(losses, lambda: validate(averaged.model, data.validation))
    return checkpoints.weights
