"""Train one of the teacher's painters alone, on windows that are gathered once::

    python -m superface_hf.data.regions.gather --data DATA --out .cache/regions
    superface train painter --set windows=.cache/regions --set region=mouth --out runs/mouth
    superface train painter --set windows=.cache/regions --set region=eyes --set teacher=runs/mouth/final --out runs/eyes

Everything else of the teacher stays. A window costs about a tenth of a frame of the whole teacher's training, so that a
discriminator can be heard on a CPU too. The same command continues from the newest checkpoint in ``out``; the teacher with
the new painter is in its ``final``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.pictures.holes import HoleBatch
from ...data.regions.windows import PAINTED, RegionBatch, RegionWindows
from ...hub import weights_folder
from ...models.embedded import embedded_lip_reader
from ...models.imagenet import imagenet_backbone
from ...models.painters.painter import RegionPainter
from ...models.painters.windows import feather
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_warmup, switched_on
from ..inpainter.discriminator import HoleDiscriminator
from ..inpainter.trainer import LossWeights, PictureLoss
from ..losses.lip_reading import LipReadingDistance
from ..losses.perceptual import PerceptualDistance

# The light of folds is compared after a blur of so many cells, twice: what is finer is the skin's texture, which a warp of the
# portrait never has in quite the right place.
SMOOTH = 9
# Light is compared as powers of two above this, so that black says nothing.
DARKEST = 0.05


@dataclass
class PainterTrainingConfig:
    """How one painter is trained.

    Attributes:
        windows: folder made by ``superface_hf.data.regions.gather``.
        region: mouth or eyes.
        out: folder for checkpoints, the log and at last the teacher.
        teacher: folder or Hub id of the teacher whose painter is trained; None is the embedded one.
        steps, minutes: the learning rate reaches zero at whichever comes first; reading the windows counts.
        batch_size: windows a step in each process.
        learning_rate, judge_rate: the highest rates of painter and discriminator, after ``warmup`` steps.
        weight_decay: of AdamW.
        ema: decay of the averaged weights.
        moved: how far the weights that are released lie on the way from those of the teacher before to the averaged ones. A
            mixture of both paints mouths of strangers better than either (Wortsman et al. 2022, "Robust fine-tuning of
            zero-shot models").
        clip_norm, judge_clip_norm: longer gradients of painter and discriminator are shortened to these.
        around: the weight of fine changes to what the painter drew around mouth or eyes before.
        folds: the weight of the error of light there, which folds of skin change.
        reading: for mouths, the weight of how differently a lip reader sees them.
        tint: how far light is changed, so that teeth take on the light of any portrait; 0 leaves colours.
        checkpoint_minutes: how often to save, and to measure the averaged weights.
        seed: of everything that is drawn.
        loss: what each term counts.
    """

    windows: Path = Path(".cache/regions")
    region: Literal["mouth", "eyes"] = "mouth"
    out: Path = Path("runs/painter")
    teacher: str | None = None
    steps: int = number(1_000_000, low=1)
    minutes: float = number(60.0, low=0.01)
    batch_size: int = number(12, low=1)
    learning_rate: float = number(5e-4, low=0)
    judge_rate: float = number(2e-4, low=0)
    warmup: int = number(40, low=0)
    weight_decay: float = number(1e-3, low=0)
    ema: float = number(0.995, low=0, high=1)
    moved: float = number(0.75, low=0, high=1)
    clip_norm: float = number(1.0, low=1e-3)
    judge_clip_norm: float = number(10.0, low=1e-3)
    around: float = number(4.0, low=0)
    folds: float = number(1.0, low=0)
    reading: float = number(0.3, low=0)
    tint: float = number(0.35, low=0, high=0.9)
    checkpoint_minutes: float = number(5.0, low=0)
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = number(0, low=0)
    loss: LossWeights = field(default_factory=LossWeights)


class PainterTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: PainterTrainingConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.accelerator = accelerator = accelerator_for(config.mixed_precision)
        teacher = SuperFaceTeacherModel.from_pretrained(
            config.teacher or weights_folder("teacher"), dtype=torch.float32
        )
        teacher = channels_last(teacher).train()
        self.kind = PAINTED[config.region]
        teacher.requires_grad_(False)
        painter = self.kind.painter(teacher).requires_grad_(True)
        self.averaged = averaged_copy(teacher, accelerator.device)
        self.start = averaged_copy(painter, accelerator.device)
        optimizer = torch.optim.AdamW(
            painter.parameters(),
            lr=config.learning_rate,
            betas=(0.5, 0.99),
            weight_decay=config.weight_decay,
        )
        # Its painter is called alone, so no wrapper would see the gradients: they are shared by hand.
        self.teacher = accelerator.prepare_model(teacher, evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.windows, self.held_out = (
            RegionWindows.read(config.windows / config.region / split, config.region == "mouth", accelerator.device)
            for split in ("train", "val")
        )
        self.compare = PictureLoss(PerceptualDistance(imagenet_backbone()).to(accelerator.device))
        self.read: LipReadingDistance | None = None
        if config.region == "mouth" and config.reading:
            self.read = LipReadingDistance(embedded_lip_reader(accelerator.device))
        self.discriminator: HoleDiscriminator | None = None
        if config.loss.adversarial:
            self.discriminator = HoleDiscriminator(accelerator, config.judge_rate, config.judge_clip_norm)
        self.run = TrainingRun(
            config.out, accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, minutes=config.minutes, seed=config.seed,
        )  # fmt: skip

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        run, config = self.run, self.config
        run.resume()
        for step in run.steps_left(until):
            batch = self.windows.draw(config.batch_size).tinted(config.tint)
            fall = cosine_after_warmup(step, config.warmup, run.progress)
            loss, terms = self._loss(batch, fall)
            run.descend(loss, self.teacher, self.optimizer, config.learning_rate * fall, config.clip_norm)
            run.tick({"loss": loss.detach(), **terms}, measure=self.measure)
        run.save(measure=self.measure)
        if run.progress == 1:
            setattr(self.averaged, self.kind.attribute, self.released())
        run.release()

    @torch.no_grad()
    def released(self) -> RegionPainter:
        """Return the painter whose weights lie between those before the training and the averaged ones."""
        painter = copy.deepcopy(self.start)
        for mine, new in zip(painter.parameters(), self.kind.painter(self.averaged).parameters(), strict=True):
            mine.lerp_(new, self.config.moved)
        return painter

    def _loss(self, batch: RegionBatch, fall: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and its terms without gradients; the discriminator learns from the batch."""
        weights, progress = self.config.loss, self.run.progress
        with self.accelerator.autocast():
            painted = batch.painted_by(self.kind.painter(self.teacher))
        terms, asked, region = self._terms(painted, batch)
        loss = sum(getattr(weights, name) * terms[name] for name in ("pixels", "perceptual", "texture"))
        loss = loss + sum(
            getattr(self.config, name) * terms[name] for name in ("around", "folds", "reading") if name in terms
        )
        if self.discriminator is not None and progress >= weights.judged_from:
            terms["discriminator"] = self.discriminator.learn(region, asked, self.config.judge_rate * fall)
            judged = self.discriminator.judge(region, asked)
            heard = switched_on(progress, weights.judged_from, weights.judged_fully)
            loss = loss + heard * sum(getattr(weights, name) * term for name, term in judged.items())
            terms |= judged
        return loss, {name: term.detach() for name, term in terms.items()}

    def _terms(self, painted: Tensor, batch: RegionBatch) -> tuple[dict[str, Tensor], HoleBatch, Tensor]:
        """Return the errors of painted windows, and what the discriminator sees."""
        asked, region = _compared(painted, batch)
        terms = self.compare(region, asked) | around_it(painted, batch)
        if self.read is not None:
            terms["reading"] = self.read(painted, batch.target)
        return terms, asked, region

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return errors of pixels, features, textures and folds of held-out windows, of the painter to be released and of that
        before."""
        sums: dict[str, float] = {}
        released = self.released()
        for batch in self.held_out.batches(16):
            for name, painted in (("", batch.painted_by(released)), ("_before", batch.before)):
                terms, _, _ = self._terms(painted, batch)
                for term, value in terms.items():
                    sums[term + name] = sums.get(term + name, 0.0) + float(value) * len(batch.target)
        return {name: value / len(self.held_out) for name, value in sums.items()}


def _compared(painted: Tensor, batch: RegionBatch) -> tuple[HoleBatch, Tensor]:
    """Return what is asked, and painted windows (B, 3, h, w) that are the true ones where nothing is asked: both without the
    rim, which mouth and eyes hardly reach."""
    height, width = painted.shape[-2:]
    rows, columns = (slice(side // 8, side - side // 8) for side in (height, width))
    region = torch.lerp(batch.target, painted, batch.asked)
    target, asked, region = (each[..., rows, columns].contiguous() for each in (batch.target, batch.asked, region))
    return HoleBatch(target, 1 - asked, asked), region


def around_it(painted: Tensor, batch: RegionBatch) -> dict[str, Tensor]:
    """Return how far windows (B, 3, h, w) are from those before in what is fine, and from the true ones in their light: around
    mouth or eyes."""
    weight = (1 - batch.asked) * feather(painted.shape[-2:], painted)  # type: ignore[arg-type]
    change = painted - batch.before
    fine = ((change - _smooth(change)).abs() * weight).mean()
    light, true = (_smooth(each.mean(1, keepdim=True)).clamp_min(DARKEST).log2() for each in (painted, batch.target))
    # The mesh covers the skin; what is beside it is not the face's.
    skin = F.interpolate(batch.drawn[:, 3:4], size=painted.shape[-2:], mode="bilinear", align_corners=False)
    weight = weight * skin
    return {"around": fine, "folds": ((light - true).abs() * weight).sum() / weight.sum().clamp_min(1)}


def _smooth(values: Tensor) -> Tensor:
    for _ in range(2):
        values = F.avg_pool2d(F.pad(values, (SMOOTH // 2,) * 4, mode="replicate"), SMOOTH, 1)
    return values


def run(config: PainterTrainingConfig, until: int | None = None) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    trainer = PainterTrainer(config)
    trainer.train(until)
    return trainer.run.newest_weights
