"""Train the inpainter on packed pictures that stay on the device::

    superface train inpainter --set shards=.shards_matte --out runs/inpainter

What it paints is judged by pixels, by the features of an ImageNet network (their places and, for texture, their means of
products), and by a discriminator of patches that learns along. The same command continues from the newest checkpoint in
``out``; the finished weights are in its ``final``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from ...data.pictures.holes import HoleBatch, draw_holes, fixed_holes
from ...data.pictures.packed import load_packed
from ...models.inpainter.configuration_inpainter import SuperFaceInpainterConfig
from ...models.inpainter.modeling_inpainter import SuperFaceInpainterModel
from ...utils.settings import SettingsError, number
from ..core.averaging import averaged_copy
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_warmup, switched_on
from ..losses.perceptual import PerceptualDistance, packed_distance
from .discriminator import HoleDiscriminator

STORED_SIZE = 384  # pixels of the pictures that windows are taken from
BORDER = 3.0  # how much more a pixel at the hole's border counts than one far inside


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term of the loss.

    Attributes:
        pixels: the error of pixels.
        perceptual, texture: the error of features where they are, and of their means of products.
        adversarial, matching: the discriminator's judgement, and the match of its features; without ``adversarial`` there is
            no discriminator.
        judged_from, judged_fully: the share of the training up to which the discriminator is not heard, and from which on it
            is heard in full.
    """

    pixels: float = number(4.0, low=0)
    perceptual: float = number(1.0, low=0)
    texture: float = number(30.0, low=0)
    adversarial: float = number(0.15, low=0)
    matching: float = number(20.0, low=0)
    judged_from: float = number(0.08, low=0, high=1)
    judged_fully: float = number(0.15, low=0.01, high=1)


@dataclass
class InpainterTrainingConfig:
    """How the inpainter is trained.

    Attributes:
        shards: folder made by ``superface_hf.data.pictures.pack``.
        out: folder for checkpoints, the log and at last the weights.
        steps, minutes: the learning rate reaches zero at whichever comes first; reading the pictures counts.
        batch_size, size: windows a step in each process, and their side in pixels.
        learning_rate, judge_rate: the highest rates of network and discriminator, after ``warmup`` steps.
        weight_decay: of AdamW.
        ema: decay of the averaged weights that are released.
        clip_norm, judge_clip_norm: longer gradients of network and discriminator are shortened to these.
        checkpoint_minutes: how often to save, and to measure the averaged weights.
        seed: of everything that is drawn.
        loss: what each term counts.
        network: fields of ``SuperFaceInpainterConfig`` that differ from the defaults.
    """

    shards: Path = Path(".shards_matte")
    out: Path = Path("runs/inpainter")
    steps: int = number(1_000_000, low=1)
    minutes: float = number(7.0, low=0.01)
    batch_size: int = number(32, low=1)
    size: int = number(256, low=32)
    learning_rate: float = number(1e-3, low=0)
    judge_rate: float = number(2e-4, low=0)
    warmup: int = number(40, low=0)
    weight_decay: float = number(1e-3, low=0)
    ema: float = number(0.998, low=0, high=1)
    clip_norm: float = number(1.0, low=1e-3)
    judge_clip_norm: float = number(10.0, low=1e-3)
    checkpoint_minutes: float = number(2.0, low=0)
    mixed_precision: Literal["no", "bf16"] = "bf16"
    seed: int = number(0, low=0)
    loss: LossWeights = field(default_factory=LossWeights)
    network: dict[str, Any] = field(default_factory=dict)


class PictureLoss:
    """Compares pixels, features and textures of the part that is asked for."""

    def __init__(self, distance: PerceptualDistance) -> None:
        self.distance = distance

    def __call__(self, painted: Tensor, batch: HoleBatch) -> dict[str, Tensor]:
        """Return the terms of the loss; ``painted`` is the true picture where nothing was asked."""
        wanted, asked = batch.pictures, batch.asked
        near = F.avg_pool2d(F.pad(1 - asked, (12, 12, 12, 12), mode="replicate"), 25, 1)
        weight = asked * (1 + BORDER * near)
        pixels = ((painted - wanted).abs() * weight).sum() / (3 * weight.sum()).clamp_min(1)
        found, true = self._features(painted), self._features(wanted)
        perceptual, texture = pixels.new_zeros(()), pixels.new_zeros(())
        for f, t in zip(found, true, strict=True):
            here = F.interpolate(asked, size=f.shape[-2:], mode="area") + 0.02
            f, t = f.float(), t.detach().float()
            apart = F.normalize(f, dim=1, eps=1e-4) - F.normalize(t, dim=1, eps=1e-4)
            perceptual = perceptual + (apart.square().sum(1, keepdim=True) * here).sum() / here.sum()
            texture = texture + (_products(f, here) - _products(t, here)).abs().mean()
        return {"pixels": pixels, "perceptual": perceptual, "texture": texture}

    def _features(self, pictures: Tensor) -> list[Tensor]:
        return self.distance.backbone((pictures - self.distance.mean) / self.distance.std)[:4]


def _products(features: Tensor, weight: Tensor) -> Tensor:
    """Return the means (B, C, C) of products of channels (Gatys et al. 2016), of features brought to the same strength."""
    # (half precision, in which products would be taken, is too coarse for the differences between them)
    features = features / features.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)
    flat = (features * weight.sqrt()).flatten(2)
    with torch.autocast(flat.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / weight.flatten(1).sum(1)[:, None, None] / features.shape[1]


@torch.no_grad()
def hole_figures(
    network: nn.Module, held_out: HoleBatch, distance: PerceptualDistance, batch: int = 16
) -> dict[str, float]:
    """Return the perceptual distance and PSNR in the asked part of held-out holes, of the network's paint and of the plain
    fill."""
    sums: dict[str, list[Tensor]] = {"perceptual": [], "perceptual_fill": [], "psnr": [], "psnr_fill": []}
    for start in range(0, len(held_out.pictures), batch):
        picture, known, asked = (x[start : start + batch] for x in (held_out.pictures, held_out.known, held_out.asked))
        output = network(picture, known)
        for name, painted in (("", output.pictures), ("_fill", output.fill)):
            together = torch.where(asked > 0, painted, picture)
            sums[f"perceptual{name}"].append(distance(together, picture) * len(picture))
            error = ((together - picture).square() * asked).sum((1, 2, 3)) / (3 * asked.sum((1, 2, 3))).clamp_min(1)
            sums[f"psnr{name}"].append((-10 * error.clamp_min(1e-6).log10()).sum())
    return {name: float(torch.stack(values).sum()) / len(held_out.pictures) for name, values in sums.items()}


class InpainterTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: InpainterTrainingConfig) -> None:
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(config.seed)
        self.config = config
        self.accelerator = accelerator = accelerator_for(config.mixed_precision)
        network = channels_last(SuperFaceInpainterModel(_architecture(config.network)))
        self.averaged = averaged_copy(network, accelerator.device)
        self.run = TrainingRun(
            config.out, accelerator, self.averaged, config.ema, config.checkpoint_minutes, config, log_every=50,
            steps=config.steps, minutes=config.minutes, seed=config.seed,
        )  # fmt: skip
        self.data = load_packed(config.shards, "train", STORED_SIZE, accelerator.device)
        self.held_out = fixed_holes(load_packed(config.shards, "val", STORED_SIZE, accelerator.device), config.size)
        self.distance = packed_distance(config.shards, accelerator.device)
        self.compare = PictureLoss(self.distance)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.5, 0.99), weight_decay=config.weight_decay
        )
        self.model, self.optimizer = accelerator.prepare(network.train(), optimizer)
        self.discriminator: HoleDiscriminator | None = None
        if config.loss.adversarial:
            self.discriminator = HoleDiscriminator(accelerator, config.judge_rate, config.judge_clip_norm)

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        run, config = self.run, self.config
        run.resume()
        for step in run.steps_left(until):
            batch = draw_holes(self.data, config.batch_size, config.size)
            fall = cosine_after_warmup(step, config.warmup, run.progress)
            loss, terms = self._loss(batch, fall)
            run.descend(loss, self.model, self.optimizer, config.learning_rate * fall, config.clip_norm)
            run.tick({"loss": loss.detach(), **terms}, measure=self.measure)
        run.save(measure=self.measure)
        run.release()

    def _loss(self, batch: HoleBatch, fall: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and its terms without gradients; the discriminator learns from the batch."""
        weights, progress = self.config.loss, self.run.progress
        with self.accelerator.autocast():
            painted = self.model(batch.pictures, batch.known).pictures
            painted = torch.where(batch.asked > 0, painted, batch.pictures)
            terms = self.compare(painted, batch)
        loss = weights.pixels * terms["pixels"] + weights.perceptual * terms["perceptual"]
        loss = loss + weights.texture * terms["texture"]
        if self.discriminator is not None and progress >= weights.judged_from:
            terms["discriminator"] = self.discriminator.learn(painted, batch, self.config.judge_rate * fall)
            judged = self.discriminator.judge(painted, batch)
            heard = switched_on(progress, weights.judged_from, weights.judged_fully)
            loss = loss + heard * sum(getattr(weights, name) * term for name, term in judged.items())
            terms |= judged
        return loss, {name: term.detach() for name, term in terms.items()}

    def measure(self) -> dict[str, float]:
        """Return the figures of the averaged network; see :func:`hole_figures`."""
        return hole_figures(self.averaged, self.held_out, self.distance)


def _architecture(changes: dict[str, Any]) -> SuperFaceInpainterConfig:
    """Return the network's configuration with some fields changed.

    Raises:
        SettingsError: an unknown field, or a value that cannot be.
    """
    try:
        return SuperFaceInpainterConfig(**changes)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise SettingsError(f"network: {' '.join(str(error).split())}") from error


def run(config: InpainterTrainingConfig, until: int | None = None) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    trainer = InpainterTrainer(config)
    trainer.train(until)
    return trainer.run.newest_weights
