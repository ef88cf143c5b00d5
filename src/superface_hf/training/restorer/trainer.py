"""Train the restorer on packed faces that stay on the device::

    python -m superface_hf.training.restorer.pack DATA .shards_faces
    superface train restorer --set shards=.shards_faces --out runs/restorer

Three stages share the time, as in CodeFormer (section 3): the autoencoder of clean faces with its codebook; the encoder of
degraded faces with the transformer, which learn the clean faces' codes; and the skip of features into the decoder. The same
command continues from the newest checkpoint in ``out``; the finished weights are in its ``final``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.restorer.modeling_restorer import CodebookRestorer
from ...utils.settings import SettingsError, number
from ..core.averaging import averaged_copy
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine_after_share, switched_on
from ..losses.perceptual import packed_distance
from .codebook import CodebookMeans
from .degraded_faces import draw_clean, draw_pairs, fixed_pairs
from .discriminator import FaceDiscriminator
from .packed_faces import load_faces
from .stages import STAGES, Stage, stage_at
from .validation import restorer_figures

PAIRS_AT_START = 8  # of pictures, from which the second stage takes the scale of its logits
WARM = 0.03  # share of a stage in which the learning rate rises


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term of the loss.

    Attributes:
        pixels, perceptual: the error of pixels, and of features of an ImageNet network.
        commitment: the distance of features from their entries.
        adversarial, matching: the discriminator's judgement, and the match of its features; without ``adversarial`` there is
            no discriminator.
        quantised_from: the share of the first stage up to which features are decoded as they are while the codebook follows
            them; quantised from the start, a short training would use few codes.
        judged_from, judged_fully: the share of the first stage up to which the discriminator is not heard, and from which on
            it is heard in full; in the last stage it is always heard.
        codes, code_features: the cross-entropy of the codes, and the distance of features from the clean picture's entries.
    """

    pixels: float = number(6.0, low=0)
    perceptual: float = number(1.0, low=0)
    commitment: float = number(0.25, low=0)
    adversarial: float = number(0.1, low=0)
    matching: float = number(2.0, low=0)
    quantised_from: float = number(0.1, low=0, high=1)
    judged_from: float = number(0.6, low=0, high=1)
    judged_fully: float = number(0.75, low=0.01, high=1)
    codes: float = number(1.0, low=0)
    code_features: float = number(1.0, low=0)


@dataclass
class RestorerTrainingConfig:
    """How the restorer is trained.

    Attributes:
        shards: folder made by ``superface_hf.training.restorer.pack``.
        out: folder for checkpoints, the log and at last the weights.
        steps, minutes: the training is over at whichever comes first; reading the pictures counts.
        first_stage, second_stage: shares of the training that the first and the second stage take.
        batch_size, size: crops a step in each process, and their side in pixels, of the second and third stage.
        vq_batch_size, vq_size: the same of the first stage.
        learning_rate, judge_rate: the highest rates of network and discriminator; they fall to zero in each stage.
        weight_decay: of AdamW.
        ema: decay of the averaged weights that are released.
        clip_norm, judge_clip_norm: longer gradients of network and discriminator are shortened to these.
        checkpoint_minutes: how often to save, and to measure the averaged weights.
        seed: of everything that is drawn.
        loss: what each term counts.
        network: arguments of ``CodebookRestorer`` that differ from the defaults.
    """

    shards: Path = Path(".shards_faces")
    out: Path = Path("runs/restorer")
    steps: int = number(1_000_000, low=1)
    minutes: float = number(7.0, low=0.01)
    first_stage: float = number(0.5, low=0.01, high=0.98)
    second_stage: float = number(0.28, low=0.01, high=0.98)
    batch_size: int = number(32, low=1)
    size: int = number(256, low=32)
    vq_batch_size: int = number(48, low=1)
    vq_size: int = number(192, low=32)
    learning_rate: float = number(1e-3, low=0)
    judge_rate: float = number(2e-4, low=0)
    weight_decay: float = number(1e-4, low=0)
    ema: float = number(0.998, low=0, high=1)
    clip_norm: float = number(1.0, low=1e-3)
    judge_clip_norm: float = number(10.0, low=1e-3)
    checkpoint_minutes: float = number(2.0, low=0)
    mixed_precision: Literal["no", "bf16"] = "bf16"
    seed: int = number(0, low=0)
    loss: LossWeights = field(default_factory=LossWeights)
    network: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first_stage + self.second_stage >= 1:
            raise SettingsError("first_stage and second_stage leave nothing of the training for the third stage.")


class RestorerTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: RestorerTrainingConfig) -> None:
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(config.seed)
        self.config = config
        self.accelerator = accelerator = accelerator_for(config.mixed_precision)
        network = channels_last(_restorer(config.network))
        self.averaged = averaged_copy(network, accelerator.device)
        self.run = TrainingRun(
            config.out, accelerator, self.averaged, config.ema, config.checkpoint_minutes, config, log_every=50,
            steps=config.steps, minutes=config.minutes, seed=config.seed,
        )  # fmt: skip
        self.data = load_faces(config.shards, "train", accelerator.device)
        self.held_out = fixed_pairs(load_faces(config.shards, "val", accelerator.device), 16, config.size)
        self.distance = packed_distance(config.shards, accelerator.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        # Parts of it are called one by one, so it is not wrapped.
        self.network = accelerator.prepare_model(network.train(), evaluation_mode=True)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.means = CodebookMeans(accelerator, self.network.vq.quantize.embedding)
        self.stage: Stage = STAGES[0]
        self.discriminator: FaceDiscriminator | None = None
        if config.loss.adversarial:
            self.discriminator = FaceDiscriminator(accelerator, config.judge_rate, config.judge_clip_norm)

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        run, config = self.run, self.config
        self.stage = run.resume().get("stage", STAGES[0])
        for _ in run.steps_left(until):
            stage, done = stage_at(run.progress, config.first_stage, config.second_stage)
            if stage != self.stage:
                self._enter(stage)
            fall = cosine_after_share(done, WARM, 0.01)
            terms = self._learnt(stage, done, fall)
            run.descend(terms["loss"], self.network, self.optimizer, config.learning_rate * fall, config.clip_norm)
            terms = {name: term.detach() for name, term in terms.items()}
            run.tick(terms, measure=self.measure, stage=self.stage)
        run.save(measure=self.measure, stage=self.stage)
        run.release()

    def _enter(self, stage: Stage) -> None:
        """Start a stage from the averaged weights of the one before."""
        self.network.load_state_dict(self.averaged.state_dict())
        if self.stage == "codebook":
            pairs = draw_pairs(self.data, PAIRS_AT_START, self.config.size)
            self.network.start_encoder(pairs.clean, pairs.degraded)
        self.averaged.load_state_dict(self.network.state_dict())
        self.stage = stage

    def _learnt(self, stage: Stage, done: float, fall: float) -> dict[str, Tensor]:
        """Return the terms of the loss of a step, and their weighted sum ``loss``."""
        network = self.network
        trained = {
            "codebook": [network.vq.encoder, network.vq.quant_conv, network.vq.post_quant_conv, network.vq.decoder],
            "codes": [network.encoder, network.to_codes, network.transformer],
            "skip": [network.skips],
        }[stage]
        network.requires_grad_(False)
        for part in trained:
            part.requires_grad_(True)
        network.log_nearness.requires_grad_(stage == "codes")
        return getattr(self, f"_{stage}")(done, fall)

    def _codebook(self, done: float, fall: float) -> dict[str, Tensor]:
        """Code clean pictures, and decode them."""
        config, weights, network = self.config, self.config.loss, self.network
        clean = draw_clean(self.data, config.vq_batch_size, config.vq_size)
        with self.accelerator.autocast():
            features = network.clean_features(clean)
        features = features.float()
        codes = network.distances(features.detach()).argmin(1)
        self.means.follow(features.detach(), codes, restart=done < 0.8)
        entries = network.entries(codes)
        shown = features + (entries - features).detach() if done >= weights.quantised_from else features
        with self.accelerator.autocast():
            drawn = network.draw(shown)
        terms = self._compared(
            drawn.float(), clean, clean, switched_on(done, weights.judged_from, weights.judged_fully), fall
        )
        terms["commitment"] = F.mse_loss(features, entries) / entries.var().clamp_min(1e-6)
        terms["loss"] = terms["loss"] + weights.commitment * terms["commitment"]
        return terms

    def _codes(self, done: float, fall: float) -> dict[str, Tensor]:
        """Predict the codes of clean pictures from degraded ones."""
        weights, network = self.config.loss, self.network
        pairs = draw_pairs(self.data, self.config.batch_size, self.config.size)
        with torch.no_grad(), self.accelerator.autocast():
            true = network.clean_features(pairs.clean)
        codes = network.distances(true.float()).argmin(1)
        with self.accelerator.autocast():
            features = network.see(pairs.degraded).features
            corrections = network.transformer(features)
        features = features.float()
        logits = corrections.float() + network.nearest(features)
        entries = network.entries(codes)
        terms = {
            "codes": F.cross_entropy(logits, codes),
            "code_features": F.mse_loss(features, entries) / entries.var().clamp_min(1e-6),
            "accuracy": (logits.detach().argmax(1) == codes).float().mean(),
        }
        terms["loss"] = weights.codes * terms["codes"] + weights.code_features * terms["code_features"]
        return terms

    def _skip(self, done: float, fall: float) -> dict[str, Tensor]:
        """Decode predicted codes with the degraded pictures' features."""
        network = self.network
        pairs = draw_pairs(self.data, self.config.batch_size, self.config.size)
        with self.accelerator.autocast():
            with torch.no_grad():
                seen = network.see(pairs.degraded)
                entries = network.entries(network.logits(seen.features).argmax(1))
            drawn = network.draw(entries, seen.levels, 1.0)
        return self._compared(drawn.float(), pairs.degraded, pairs.clean, 1.0, fall)

    def _compared(self, drawn: Tensor, colours: Tensor, clean: Tensor, heard: float, fall: float) -> dict[str, Tensor]:
        """Return the terms that compare what is drawn with clean pictures.

        Args:
            drawn: (B, 3, S, S), as :meth:`CodebookRestorer.draw` gives it; its pixels are compared as they are.
            colours: what the coarse colours are taken from before features are compared.
            clean: the true pictures.
            heard: how much the discriminator counts; it learns if that is more than nothing.
            fall: the learning rate as a share of the highest.
        """
        weights = self.config.loss
        shown = self.network.coloured(drawn, colours)
        with self.accelerator.autocast():
            terms = {"pixels": (drawn - clean).abs().mean(), "perceptual": self.distance(shown, clean)}
        loss = weights.pixels * terms["pixels"] + weights.perceptual * terms["perceptual"]
        if self.discriminator is not None and heard > 0:
            terms["discriminator"] = self.discriminator.learn(shown, clean, self.config.judge_rate * fall)
            judged = self.discriminator.judge(shown, clean)
            loss = loss + heard * sum(getattr(weights, name) * term for name, term in judged.items())
            terms |= judged
        return terms | {"loss": loss}

    def measure(self) -> dict[str, float]:
        """Return the figures of the averaged network; see :func:`restorer_figures`."""
        return restorer_figures(self.averaged, self.held_out, self.distance)


def _restorer(changes: dict[str, Any]) -> CodebookRestorer:
    """Return a network with some arguments changed.

    Raises:
        SettingsError: an unknown argument, or a value that cannot be.
    """
    try:
        return CodebookRestorer(**changes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(f"network: {' '.join(str(error).split())}") from error


def run(config: RestorerTrainingConfig, until: int | None = None) -> Path | None:
    """Train until steps or minutes are over, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    trainer = RestorerTrainer(config)
    trainer.train(until)
    return trainer.run.newest_weights
