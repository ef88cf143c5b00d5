"""Trains the tracker's eye refiner (``python -m superface_hf.training.tracker.trainer --only-eyes`` runs it).

Checkpoints are written every few minutes; the same command goes on from the last one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ...data.prepared_set import load_clips
from ...data.tracker import augment as augment
from ...data.tracker.crops import SKIPPED_CLIPS, Source, all_sources, person_of, sampling_weights
from ...models.tracker import eyes
from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.crops import FaceCrop
from ...models.tracker.networks import EyeRefiner
from ...utils.settings import number
from ..core.processes import accelerator_for
from ..core.run import channels_last
from .common import Averaged, Checkpoints, RandomDraws, TrainingClock, cached

# Samples that follow each other in a batch are of one person, so many: what differs between them is the eyes' movement.
GROUP = 4


@dataclass
class EyeTrainingConfig:
    """How the eye refiner is trained.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: checkpoints and log.
        cache: where the crops of eyes are kept between runs.
        frames: pictures taken of each clip, those with the rarest eyes among those kept.
        steps, minutes: the learning rate reaches zero at whichever comes first.
        batch: eyes a step, a multiple of ``GROUP``.
        crop_pixels, crop_margin: side of the kept crops in pixels, and over the network's side.
        clips, portraits_small, portraits_large: how much of training each domain gets.
        movement: weight of the lids' opening and of the gaze (and of how they differ within a group) beside the points.
    """

    prepared: Path = Path(".cache/prepared")
    out: Path = Path("runs/tracker_eyes")
    cache: Path = Path(".cache/tracker_eyes")
    frames: int = 28
    steps: int = number(1_000_000, low=1)
    minutes: float = number(18.0, low=0.01)
    batch: int = number(96, low=1)
    learning_rate: float = number(3e-3, low=0)
    weight_decay: float = 0.02
    crop_pixels: int = 96
    crop_margin: float = 1.5
    clips: float = 0.7
    portraits_small: float = 0.12
    portraits_large: float = 0.18
    movement: float = 1.0
    checkpoint_seconds: float = 120.0
    seed: int = 0

    @property
    def shares(self) -> dict[str, float]:
        return {
            "clips": self.clips,
            "portraits_small": self.portraits_small,
            "portraits_large": self.portraits_large,
        }


@dataclass(frozen=True)
class EyeSet:
    """Crops of eyes, wider than the network's, left ones mirrored.

    Attributes:
        pictures: (N, S, S, 3) uint8.
        points: (N, P, 3) float32 in units of that crop; depth from the eye's corners.
        groups: (N,) int, who it is (the other eye of the same person is another group).
        weights: (N,) float64 sampling weights that sum to 1.
    """

    pictures: np.ndarray
    points: np.ndarray
    groups: np.ndarray
    weights: np.ndarray

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, pictures=self.pictures, points=self.points, groups=self.groups, weights=self.weights)
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path) -> EyeSet:
        with np.load(path) as data:
            return cls(data["pictures"], data["points"], data["groups"], data["weights"])


def opening(points: Tensor) -> Tensor:
    """(B,) mean gap between the lids over the eye's width, of points (B, P, 3) in any unit."""
    pairs = torch.tensor(eyes.LIDS)
    return (points[:, pairs[:, 0]] - points[:, pairs[:, 1]])[..., :2].norm(dim=-1).mean(1) / _width(points)


def gaze(points: Tensor) -> Tensor:
    """(B, 2) where the iris is from the middle of the corners, in widths of the eye."""
    middle = points[:, [eyes.OUTER, eyes.INNER], :2].mean(1)
    return (points[:, eyes.IRIS, :2] - middle) / _width(points)[:, None]


def _width(points: Tensor) -> Tensor:
    return (points[:, eyes.OUTER] - points[:, eyes.INNER]).norm(dim=-1).clamp(min=1e-3)


def rarity(points: np.ndarray) -> np.ndarray:
    """(N,) how rare an eye's opening and gaze are among these (N, P, 3): the root of one over their density, mean 1.

    Without it the network learns the usual eye, half open and looking ahead, and pulls all others toward it.
    """
    tensor = torch.from_numpy(points)
    state = np.concatenate([opening(tensor)[:, None].numpy(), gaze(tensor).numpy()], axis=1)
    rare = np.ones(len(state))
    for column in state.T:
        low, high = np.percentile(column, [1, 99])
        edges = np.linspace(low, high, 13)
        place = np.clip(np.digitize(column, edges), 0, len(edges))
        share = np.bincount(place, minlength=len(edges) + 1) / len(place)
        rare *= np.clip(share.max() / share[place], 1, 12) ** 0.5
    return rare / rare.mean()


def chosen_frames(prepared: Path, frames: int) -> dict[str, set[int]]:
    """For each training clip its frames with the rarest eyes, of those kept as pictures: half of them, the rest spread
    evenly."""
    found, points = [], []
    for clip in load_clips(prepared, "train", pictures=False):
        index = clip.jpeg_index[clip.found[clip.jpeg_index]]
        found += [(clip.name, int(frame)) for frame in index]
        points += [both_eyes(mesh) for mesh in clip.landmarks[index]]
    rare = rarity(np.concatenate(points)).reshape(-1, 2).max(axis=1)
    chosen: dict[str, set[int]] = {}
    for name in {name for name, _ in found}:
        rows = [row for row, (other, _) in enumerate(found) if other == name]
        rarest = sorted(rows, key=lambda row: -rare[row])[: frames // 2]
        rest = [row for row in rows if row not in set(rarest)]
        evenly = np.linspace(0, len(rest) - 1, frames - len(rarest)).astype(int).tolist() if rest else []
        chosen[name] = {found[row][1] for row in [*rarest, *(rest[place] for place in evenly)]}
    return chosen


def both_eyes(landmarks: np.ndarray) -> np.ndarray:
    """(2, P, 3) the eyes of a mesh in units of their crops."""
    return np.stack([eyes.to_eye(landmarks, crop, bool(left)) for left, crop in enumerate(eyes.eye_crops(landmarks))])


def training_sources(prepared: Path, frames: int) -> Iterator[Source]:
    """Pictures of the training clips and portraits; the latter as the whole tracker's training takes them."""
    chosen = chosen_frames(prepared, frames)
    for clip in load_clips(prepared, "train"):
        if clip.name in SKIPPED_CLIPS:
            continue
        person = person_of(clip.origin.repo, clip.origin.path) if clip.origin.path else clip.person
        for position, index in enumerate(clip.jpeg_index):
            if int(index) in chosen.get(clip.name, ()):
                yield Source("clips", person, int(index), clip.jpegs[position], clip.landmarks[index][None])
    yield from (source for source in all_sources(prepared, False, frames=1) if source.domain != "clips")


def build_eyes(sources: Iterator[Source], config: EyeTrainingConfig) -> EyeSet:
    """Crops of both eyes of every labelled face."""
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
    mesh = np.stack(points)
    weights = sampling_weights(domains, people, config.shares) * rarity(mesh)
    names = {name: number for number, name in enumerate(dict.fromkeys(people))}
    groups = np.array([names[person] for person in people])
    return EyeSet(np.stack(pictures), mesh, groups, weights / weights.sum())


class EyeData(RandomDraws):
    """Draws augmented batches from crops in memory."""

    def __init__(self, config: EyeTrainingConfig, model: SuperFaceTrackerConfig, accelerator: Accelerator) -> None:
        self.size, self.batch, self.zoom = model.eye_size, config.batch, 1 / config.crop_margin
        with accelerator.main_process_first():  # the others find its crops in the cache
            self.train, self.val = (self._eyes(config, held_out) for held_out in (False, True))
        self.begin(config.seed, accelerator)
        order = np.argsort(self.train.groups, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(self.train.groups))[:-1])
        self.shares = np.array([self.train.weights[rows].sum() for rows in self.members])
        self.shares /= self.shares.sum()

    @staticmethod
    def _eyes(config: EyeTrainingConfig, held_out: bool) -> EyeSet:
        facts = (config.crop_pixels, config.crop_margin, config.shares, config.frames)
        path = cached(config.cache, f"{'val' if held_out else 'train'}.npz", config.prepared, *facts)
        if not path.exists():
            if held_out:
                sources = iter([s for s in all_sources(config.prepared, True, frames=60) if s.domain == "clips"])
            else:
                sources = training_sources(config.prepared, config.frames)
            build_eyes(sources, config).save(path)
        return EyeSet.load(path)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, 3/4 S, S) in [-1, 1] and points (B, P, 3) in units of the crop's square."""
        groups = self.random.choice(len(self.members), self.batch // GROUP, p=self.shares)
        rows = []
        for group in groups:
            members = self.members[group]
            weights = self.train.weights[members]
            rows.append(self.random.choice(members, GROUP, p=weights / weights.sum()))
        chosen = np.concatenate(rows)
        count = len(chosen)
        wide = torch.where(torch.rand(count, generator=self.generator) < 0.2, 2.0, 1.0)
        turn = torch.randn(count, generator=self.generator) * math.radians(4) * wide
        scale = torch.exp(torch.randn(count, generator=self.generator).clamp(-2, 2) * 0.06 * wide)
        shift = torch.randn(count, 2, generator=self.generator).clamp(-2, 2) * 0.07 * wide[:, None]
        pictures, points = self._cut(self.train, chosen, turn, scale, shift)
        pictures = augment.random_light(pictures, self.generator)
        pictures = augment.random_occlusion(pictures, self.generator, share=0.12)
        pictures = augment.random_degradation(pictures, self.generator)
        return pictures * 2 - 1, points

    def validation(self) -> tuple[Tensor, Tensor, Tensor]:
        """All validation eyes, off by as much as the regressor's are, and the group of each."""
        generator = torch.Generator().manual_seed(1)
        count = len(self.val.points)
        turn = torch.randn(count, generator=generator) * math.radians(2)
        scale = torch.exp(torch.randn(count, generator=generator) * 0.03)
        shift = torch.randn(count, 2, generator=generator) * 0.04
        pictures, points = self._cut(self.val, np.arange(count), turn, scale, shift)
        return pictures * 2 - 1, points, torch.from_numpy(self.val.groups)

    def _cut(self, eye_set: EyeSet, rows: np.ndarray, *jitter: Tensor) -> tuple[Tensor, Tensor]:
        pictures = torch.from_numpy(eye_set.pictures[rows]).permute(0, 3, 1, 2).float() / 255
        points = torch.from_numpy(eye_set.points[rows])
        pictures, points = augment.cut_crops(pictures, points, self.size, self.zoom, *jitter)
        return pictures[:, :, eyes.rows(self.size)].contiguous(), points


def eye_loss(predicted: Tensor, target: Tensor, movement: float) -> Tensor:
    """Distance of points, and of the lids' opening and the gaze, both as they are and as they differ within a group.

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
        groups = off.unflatten(0, (-1, GROUP))
        moves.append(_smooth(off) + _smooth(groups - groups.mean(1, keepdim=True)))
    return points + movement * torch.stack(moves).mean()


def lid_gaps(points: Tensor) -> Tensor:
    """(B, 5) gaps between the lids along the eye, in its widths; negative where the upper lid is below the lower one."""
    pairs = torch.tensor(eyes.LIDS)
    return (points[:, pairs[:, 1]] - points[:, pairs[:, 0]])[..., 1] / _width(points)[:, None]


def _smooth(error: Tensor) -> Tensor:
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.02)


@torch.no_grad()
def initialise_shape(refiner: EyeRefiner, points: Tensor) -> None:
    """Starts the last layer as mean and principal components of jittered training eyes (N, P, 3)."""
    flat = points.flatten(1)
    mean = flat.mean(dim=0)
    _, values, vectors = torch.pca_lowrank(flat - mean, q=refiner.shape.in_features, center=False)
    refiner.shape.weight.copy_(vectors * (values / math.sqrt(len(flat))).clamp(min=1e-4))
    refiner.shape.bias.copy_(mean)
    nn.init.normal_(refiner.coefficients.weight, std=0.2 / math.sqrt(refiner.coefficients.in_features))
    nn.init.zeros_(refiner.coefficients.bias)


@torch.no_grad()
def validate(refiner: nn.Module, pictures: Tensor, points: Tensor, groups: Tensor) -> dict[str, float]:
    """Mean 2D error in percent of the eye's width, and how movement within a group is seen: slope and correlation."""
    refiner.eval()
    predicted = torch.cat([refiner(part) for part in pictures.split(128)])
    error = (predicted - points)[..., :2].norm(dim=-1).mean(dim=1) / _width(points)
    figures = {"val_error": 100 * float(error.mean())}
    for name, state in (("lids", opening), ("gaze", lambda points: gaze(points)[:, 0])):
        seen, true = state(predicted), state(points)
        for group in groups.unique():
            rows = groups == group
            seen[rows], true[rows] = seen[rows] - seen[rows].mean(), true[rows] - true[rows].mean()
        product = (seen * true).sum()
        figures[f"val_{name}_slope"] = float(product / true.square().sum().clamp(min=1e-9))
        figures[f"val_{name}_correlation"] = float(product / (true.norm() * seen.norm()).clamp(min=1e-9))
    return figures


def train(config: EyeTrainingConfig, model_config: SuperFaceTrackerConfig | None = None) -> Path:
    """Trains until steps or minutes are over.

    Returns:
        The file with the averaged weights of the refiner.
    """
    model_config = model_config or SuperFaceTrackerConfig()
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    data = EyeData(config, model_config, accelerator)
    refiner = channels_last(EyeRefiner(model_config))
    initialise_shape(refiner, torch.cat([data()[1] for _ in range(max(1, 2000 // config.batch))]))
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    refiner, optimizer = accelerator.prepare(refiner, optimizer)
    averaged = Averaged(accelerator.unwrap_model(refiner), decay=0.995)
    clock = TrainingClock(config.steps, config.minutes)
    checkpoints = Checkpoints(config.out, accelerator, averaged, clock, config.checkpoint_seconds, data)
    checkpoints.resume()
    held_out = data.validation()

    while not clock.over:
        pictures, points = (tensor.to(accelerator.device) for tensor in data())
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * clock.rate()
        refiner.train()
        loss = eye_loss(refiner(pictures), points, config.movement)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses = {"loss": float(loss.detach())}
        checkpoints.step(losses, lambda: validate(averaged.model, *held_out))
    return checkpoints.weights
