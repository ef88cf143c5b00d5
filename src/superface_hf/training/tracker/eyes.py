"""Train the tracker's eye refiner::

    superface train tracker-eyes --prepared .cache/prepared

``superface train tracker --set only_eyes=true`` trains it and puts it into a model folder. The same command continues from the
newest checkpoint.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ...data.caching import cached
from ...data.prepared_set import load_clips
from ...data.tracker import augment as augment
from ...data.tracker.crops import SKIPPED_CLIPS, Source, all_sources, person_of, sampling_weights
from ...errors import SuperFaceError
from ...models.tracker import eyes
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.crops import FaceCrop
from ...models.tracker.networks import CropRefiner
from ...utils.settings import number
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from .part import DomainShares, Draws, Part, PartTrainingConfig, train_part
from .parts import (
    CropBatch,
    GroupSampler,
    HeldOut,
    PartSet,
    initialise_basis,
    jittered_points,
    kept_to_tune,
    load_parts,
    movement_error,
    movement_figures,
    random_jitter,
    rarity,
    save_parts,
    stretch,
)

logger = logging.getLogger(__name__)

SetName = Literal["train", "val", "tune"]
SETS: tuple[SetName, ...] = ("train", "val", "tune")
# How far crops are off in training; see `random_jitter`.
JITTER = {"turn": 4.0, "scale": 0.06, "shift": 0.07}


@dataclass
class EyeTrainingConfig(DomainShares, PartTrainingConfig):
    """How the eye refiner is trained; ``batch`` is a multiple of ``parts.GROUP``.

    Attributes:
        cache: where the crops of eyes are kept between runs.
        frames: pictures taken of each clip, those with the rarest eyes among those kept.
        tuning: one person in so many is kept out of training, to learn by how much movements must be stretched.
        crop_pixels, crop_margin: side of the kept crops in pixels, and over the network's side.
        movement: weight of the lids' opening and of the gaze (and of how they differ within a group) beside the points.
    """

    out: Path = Path("runs/tracker_eyes")
    cache: Path = Path(".cache/tracker_eyes")
    frames: int = number(28, low=1)
    tuning: int = number(12, low=1)
    minutes: float = number(18.0, low=0.01)
    batch: int = number(96, low=1)
    learning_rate: float = number(3e-3, low=0)
    crop_pixels: int = number(96, low=16)
    crop_margin: float = number(1.5, low=1)
    clips: float = number(0.7, low=0)
    portraits_small: float = number(0.12, low=0)
    portraits_large: float = number(0.18, low=0)
    movement: float = number(1.0, low=0)
    checkpoint_seconds: float = number(120.0, low=0)


def opening(points: Tensor) -> Tensor:
    """Return the mean gap (B,) between the lids over the eye's width, of points (B, P, 3) in any unit."""
    pairs = torch.tensor(eyes.LIDS)
    return (points[:, pairs[:, 0]] - points[:, pairs[:, 1]])[..., :2].norm(dim=-1).mean(1) / _width(points)


def gaze(points: Tensor) -> Tensor:
    """Return the place of the iris (B, 2) from the middle of the corners, in widths of the eye."""
    middle = points[:, [eyes.OUTER, eyes.INNER], :2].mean(1)
    return (points[:, eyes.IRIS, :2] - middle) / _width(points)[:, None]


def _width(points: Tensor) -> Tensor:
    return (points[:, eyes.OUTER] - points[:, eyes.INNER]).norm(dim=-1).clamp(min=1e-3)


def movement(points: np.ndarray) -> np.ndarray:
    """Return the opening and gaze (N, 3) of eyes (N, P, 3)."""
    tensor = torch.from_numpy(points)
    return np.concatenate([opening(tensor)[:, None].numpy(), gaze(tensor).numpy()], axis=1)


def chosen_frames(prepared: Path, frames: int) -> dict[str, set[int]]:
    """Choose of each training clip the frames with the rarest eyes, of those kept as pictures: half of them, the rest spread
    evenly."""
    found, points = [], []
    for clip in load_clips(prepared, "train", pictures=False):
        index = clip.jpeg_index[clip.found[clip.jpeg_index]]
        found += [(clip.name, int(frame)) for frame in index]
        points += [both_eyes(mesh) for mesh in clip.landmarks[index]]
    rare = rarity(movement(np.concatenate(points))).reshape(-1, 2).max(axis=1)
    chosen: dict[str, set[int]] = {}
    for name in {name for name, _ in found}:
        rows = [row for row, (other, _) in enumerate(found) if other == name]
        rarest = sorted(rows, key=lambda row: -rare[row])[: frames // 2]
        rest = [row for row in rows if row not in set(rarest)]
        evenly = np.linspace(0, len(rest) - 1, frames - len(rarest)).astype(int).tolist() if rest else []
        chosen[name] = {found[row][1] for row in [*rarest, *(rest[place] for place in evenly)]}
    return chosen


def both_eyes(landmarks: np.ndarray) -> np.ndarray:
    """Return the eyes (2, P, 3) of a mesh in units of their crops."""
    return np.stack([eyes.to_eye(landmarks, crop, bool(left)) for left, crop in enumerate(eyes.eye_crops(landmarks))])


def clip_sources(prepared: Path, config: EyeTrainingConfig, tuning: bool) -> Iterator[Source]:
    """Yield the pictures of the training clips: of the people kept to tune the trained network, or of the others."""
    chosen = chosen_frames(prepared, config.frames)
    for clip in load_clips(prepared, "train"):
        if clip.name in SKIPPED_CLIPS:
            continue
        person = person_of(clip.origin.repo, clip.origin.path) if clip.origin.path else clip.person
        if kept_to_tune(person, config.tuning) != tuning:
            continue
        for position, index in enumerate(clip.jpeg_index):
            if int(index) in chosen.get(clip.name, ()):
                yield Source("clips", person, int(index), clip.jpegs[position], clip.landmarks[index][None])


def sources_of(name: SetName, config: EyeTrainingConfig) -> Iterator[Source]:
    """Yield the pictures of a set; training has the portraits, too, as the whole tracker's training takes them."""
    if name == "val":
        yield from (s for s in all_sources(config.prepared, True, frames=60) if s.domain == "clips")
        return
    yield from clip_sources(config.prepared, config, name == "tune")
    if name == "train":
        yield from (s for s in all_sources(config.prepared, False, frames=1) if s.domain != "clips")


def build_eyes(sources: Iterator[Source], config: EyeTrainingConfig) -> PartSet:
    """Return the crops of both eyes of every labelled face."""
    pictures, points, people, domains = [], [], [], []
    for source in tqdm(sources, desc="eyes", mininterval=10):
        picture = source.picture() if len(source.faces) else None
        for landmarks in source.faces:
            assert picture is not None
            for left, tight in zip((False, True), eyes.eye_crops(landmarks), strict=True):
                crop = FaceCrop(tight.x, tight.y, tight.size * config.crop_margin, tight.angle)
                cut = crop.cut(picture, config.crop_pixels)
                pictures.append(cut[:, ::-1] if left else cut)
                points.append(eyes.to_eye(landmarks, crop, left))
                people.append(f"{source.person} {'left' if left else 'right'}")
                domains.append(source.domain)
    if not points:
        raise SuperFaceError(f"{config.prepared} has too few people to keep some out of training: prepare more.")
    mesh = np.stack(points)
    weights = sampling_weights(domains, people, config.shares) * rarity(movement(mesh))
    names = {name: place for place, name in enumerate(dict.fromkeys(people))}
    groups = np.array([names[person] for person in people])
    return PartSet(np.stack(pictures), mesh, groups, weights / weights.sum())


class EyeData:
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: EyeTrainingConfig, model: SuperFaceTrackerConfig, accelerator: Accelerator) -> None:
        self.size, self.batch, self.zoom = model.eye_size, config.batch, 1 / config.crop_margin
        with accelerator.main_process_first():  # the others find its crops in the cache
            self.train, self.val, self.tune = (self._eyes(config, name) for name in SETS)
        self.rows = GroupSampler(self.train)

    @staticmethod
    def _eyes(config: EyeTrainingConfig, name: SetName) -> PartSet:
        facts = (config.crop_pixels, config.crop_margin, config.shares, config.frames, config.tuning)
        path = cached(config.cache, f"{name}.npz", config.prepared, *facts)
        if not path.exists():
            save_parts(path, eyes=build_eyes(sources_of(name, config), config))
        return load_parts(path, "eyes")

    def __call__(self, draws: Draws) -> CropBatch:
        """Return the crops of S pixels' width and three quarters of it in height, of groups of eyes."""
        chosen = self.rows(self.batch, draws.numpy)
        pictures, points = self._cut(self.train, chosen, *random_jitter(len(chosen), draws.torch, **JITTER))
        pictures = augment.random_light(pictures, draws.torch)
        pictures = augment.random_occlusion(pictures, draws.torch, share=0.12)
        pictures = augment.random_degradation(pictures, draws.torch)
        return CropBatch(pictures * 2 - 1, points)

    def jittered(self, count: int, draws: Draws) -> Tensor:
        """Return the points (N, P, 3) of training eyes alone, as in a batch."""
        chosen = self.rows(count, draws.numpy)
        jitter = random_jitter(len(chosen), draws.torch, **JITTER)
        return jittered_points(torch.from_numpy(self.train.points[chosen]), self.zoom, *jitter)

    def kept(self, name: Literal["tune", "val"]) -> HeldOut:
        """Return all eyes of people who are not trained on, off by as much as the regressor's are, and the group of each."""
        parts = self.val if name == "val" else self.tune
        generator = torch.Generator().manual_seed(1)
        count = len(parts.points)
        turn = torch.randn(count, generator=generator) * math.radians(2)
        scale = torch.exp(torch.randn(count, generator=generator) * 0.03)
        shift = torch.randn(count, 2, generator=generator) * 0.04
        pictures, points = self._cut(parts, np.arange(count), turn, scale, shift)
        return HeldOut(pictures * 2 - 1, points, torch.from_numpy(parts.groups))

    def _cut(self, eye_set: PartSet, rows: np.ndarray, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(eye_set.pictures[rows]).permute(0, 3, 1, 2).float() / 255
        points = torch.from_numpy(eye_set.points[rows])
        pictures, points = augment.cut_crops(pictures, points, self.size, self.zoom, *jitter)
        return pictures[:, :, eyes.rows(self.size)].contiguous(), points


def eye_loss(predicted: Tensor, target: Tensor, movement: float) -> Tensor:
    """Return the distance of points, and of the lids' opening and the gaze, both as they are and as they differ within a group.

    Args:
        predicted, target: (B, P, 3), groups of ``GROUP`` following each other.
    """
    weights = torch.ones(predicted.shape[1])
    weights[:21] = 2.5
    error = F.smooth_l1_loss(predicted, target, beta=0.02, reduction="none")
    points = (error * error.new_tensor([1, 1, 1 / 3]) * (weights / weights.mean())[:, None]).mean()
    width = _width(target)[:, None]
    moves = []
    for state in (lid_gaps, gaze):
        off = state(predicted) * (_width(predicted)[:, None] / width) - state(target)
        moves.append(movement_error(off, beta=0.02))
    return points + movement * torch.stack(moves).mean()


def lid_gaps(points: Tensor) -> Tensor:
    """Return the gaps (B, 5) between the lids along the eye, in its widths; negative where the upper lid is below the lower
    one."""
    pairs = torch.tensor(eyes.LIDS)
    return (points[:, pairs[:, 1]] - points[:, pairs[:, 0]])[..., 1] / _width(points)[:, None]


def measures() -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the measures of validation: the lids' opening, and the gaze sideways and upward, of points (N, P, 3)."""
    return {"lids": opening, "gaze": lambda points: gaze(points)[:, 0], "gaze_up": lambda points: -gaze(points)[:, 1]}


def sums() -> Tensor:
    """Return the gaze sideways and downward, and the lids' opening, as sums (3, P * 3) of coordinates, in units of the crop."""
    rows = torch.zeros(3, len(eyes.POINT_WEIGHTS), 3)
    for axis in (0, 1):
        rows[axis, [eyes.OUTER, eyes.INNER], axis] = -0.5
        rows[axis, eyes.IRIS, axis] = 1.0
    for upper, lower in eyes.LIDS:
        rows[2, [upper, lower], 1] += torch.tensor([-1.0, 1.0]) / len(eyes.LIDS)
    return rows.flatten(1)


def measure_eye_refiner(refiner: nn.Module, held_out: HeldOut) -> dict[str, float]:
    """Return the mean 2D error in percent of the eye's width, and how movement within a group is seen: slope and
    correlation."""
    predicted = held_out.seen_by(refiner)
    error = (predicted - held_out.points)[..., :2].norm(dim=-1).mean(dim=1) / _width(held_out.points)
    return {"error": 100 * float(error.mean()), **movement_figures(predicted, held_out, measures())}


def train(
    config: EyeTrainingConfig, until: int | None = None, model_config: SuperFaceTrackerConfig | None = None
) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``, and stretch the movements that the network then sees.

    See :func:`.part.train_part`.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = EyeData(config, model_config, accelerator)
    refiner = channels_last(CropRefiner.of_eye(model_config))
    initialise_basis(refiner.shape, refiner.coefficients, data.jittered(2000, Draws.of(config.seed)))
    held_out = data.kept("val")
    part = Part(
        refiner,
        [(list(refiner.parameters()), config.learning_rate)],
        data,
        lambda network, batch: {"loss": eye_loss(network(batch.pictures), batch.points, config.movement)},
        lambda network: measure_eye_refiner(network, held_out),
        ema=0.995,
    )
    return train_part(part, config, accelerator, until, lambda network: settle(network, data.kept("tune")))


def settle(refiner: nn.Module, held_out: HeldOut) -> None:
    """Stretch gaze and opening of a trained refiner by the factors that held-out people need."""
    assert isinstance(refiner, CropRefiner)
    refiner.cpu()
    factors = stretch(refiner, held_out.seen_by(refiner), held_out.points, held_out.groups, sums())
    logger.info("stretched by %s: %s", factors.tolist(), measure_eye_refiner(refiner, held_out))
