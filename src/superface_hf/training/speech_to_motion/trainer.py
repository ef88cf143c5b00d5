"""Train the motion diffusion on tracked clips of speaking people.

::

    python -m superface_hf.data.speech.tracked_clips $SUPERFACE_DATA -o .cache/speech_to_motion
    superface train speech-to-motion --set data=$SUPERFACE_DATA --out runs/speech_to_motion

The same command resumes from the newest checkpoint in ``out``; the finished network is in its ``final``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate.utils import set_seed
from torch import Tensor
from transformers.utils import logging

from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.motion_statistics import MotionStatistics
from ...models.speech_to_motion.motion_vector import region_slices
from ...models.speech_to_motion.noise import motion_scheduler
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import falling_rate
from .clips import MotionClip, load_motion_clips
from .windows import MotionBatch, MotionWindows, fit_statistics

logger = logging.get_logger(__name__)

REGION_WEIGHTS = {"mouth": 1.0, "eyes": 1.0, "brows": 1.0, "gaze": 0.7, "head": 2.0}
VALIDATION_WINDOWS = 96


@dataclass
class SpeechToMotionTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        data, cache: folder with ``clips.csv``, and the one that ``motion_cache`` wrote.
        out: folder for checkpoints and logs.
        steps, batch_size: length of the training; in each step, each process takes a batch.
        learning_rate: of AdamW after ``warmup`` steps; over the last ``decay`` share of the steps it falls to a twentieth.
        unheard, unstyled: share of windows that do not know what is heard, and that do not know their style.
        near_noise: exponent of the draw of timesteps: 1 draws all alike, more draws noisy ones more often. Where a head will
            be for seconds is decided at the noisiest, of which an even draw sees few.
        velocity: weight of the error of differences between frames.
        most_snr: of min-SNR weighting (Hang et al. 2023), in the form for velocity prediction: no step counts for nothing.
        blur: standard deviation of noise on the known frames, so that small errors of earlier windows do not grow.
        ema: decay of the averaged weights that are released.
        hidden_size, num_layers: of the network.
    """

    data: str = "data"
    cache: str = ".cache/speech_to_motion"
    out: str = "runs/speech_to_motion"
    steps: int = number(3600, low=1)
    batch_size: int = number(16, low=1)
    learning_rate: float = number(6e-4, low=0)
    warmup: int = number(100, low=0)
    decay: float = number(0.5, low=0, high=1)
    weight_decay: float = 0.02
    unheard: float = number(0.1, low=0, high=1)
    unstyled: float = number(0.3, low=0, high=1)
    near_noise: float = number(2.0, low=1)
    velocity: float = 2.0
    most_snr: float = 5.0
    blur: float = 0.05
    ema: float = number(0.997, low=0, high=1)
    hidden_size: int = 192
    num_layers: int = 4
    seed: int = 0
    validate_every: int = 250
    checkpoint_minutes: float = 3.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"


class SpeechToMotionTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped.

    Args:
        clips: to train on, and (those with ``held_out``) to look at in ``validate_every``.
        network: sizes of the network that differ from the configuration's and the defaults.
    """

    def __init__(
        self, config: SpeechToMotionTrainingConfig, clips: Sequence[MotionClip], network: dict[str, int] | None = None
    ) -> None:
        self.config = config
        set_seed(config.seed)
        self.accelerator = accelerator_for(config.mixed_precision)
        shown = [clip for clip in clips if not clip.held_out]
        unseen = [clip for clip in clips if clip.held_out]
        self.statistics = self._scales(shown)
        sizes = {"hidden_size": config.hidden_size, "num_layers": config.num_layers, **(network or {})}
        model = MotionDenoiser(
            motion_size=shown[0].vectors.shape[1], condition_size=shown[0].condition.shape[1], **sizes
        )
        self.averaged = averaged_copy(model, self.accelerator.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model.train(), optimizer)
        self.run = TrainingRun(
            Path(config.out), self.accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, seed=config.seed,
        )  # fmt: skip
        frames, known = model.config.frames, model.config.known_frames
        self.windows = MotionWindows(shown, self.statistics, config.seed, frames, known)
        self.unseen = MotionWindows(unseen, self.statistics, 1, frames, known, 0.0) if unseen else None
        scheduler = motion_scheduler()
        self.kept = scheduler.alphas_cumprod.to(self.accelerator.device)
        self.weight = coefficient_weights(shown[0].vectors.shape[1]).to(self.accelerator.device)

    def _scales(self, clips: Sequence[MotionClip]) -> MotionStatistics:
        """Return the statistics with which the run began: a training may be continued after more clips have been tracked."""
        folder = Path(self.config.out) / "statistics"
        if not folder.exists():
            fit_statistics(clips).save_pretrained(folder)
        return MotionStatistics.from_pretrained(folder)

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        config = self.config
        self.run.resume()
        for batch in self.run.batches(self.windows, config.batch_size, until or config.steps):
            self.run.tick(self._train_step(batch))
            step = self.run.step
            if self.unseen is not None and config.validate_every and step % config.validate_every == 0:
                self.run.log({"step": step, "validation": self.held_out_loss()})
        self.run.save()
        if self.run.progress == 1 and self.accelerator.is_main_process:
            final = self.run.final
            self.averaged.save_pretrained(final / "denoiser")
            self.statistics.save_pretrained(final / "statistics")
            motion_scheduler().save_pretrained(final / "scheduler")

    @torch.no_grad()
    def held_out_loss(self) -> dict[str, float]:
        """Return the averaged network's loss on windows of people who are not trained on, with the same noise each time."""
        torch.manual_seed(0)
        assert self.unseen is not None
        numbers = torch.arange(VALIDATION_WINDOWS).split(self.config.batch_size)
        batches = [self.unseen.collate([self.unseen[number] for number in part.tolist()]) for part in numbers]
        terms = [self._loss(self.averaged, batch)[1] for batch in batches]
        return {name: round(sum(float(term[name]) for term in terms) / len(terms), 5) for name in terms[0]}

    def _train_step(self, batch: MotionBatch) -> dict[str, float | Tensor]:
        config, step = self.config, self.run.step
        loss, terms = self._loss(self.model, batch)
        rate = config.learning_rate * falling_rate(step, config.steps, config.warmup, config.decay * config.steps)
        norm = self.run.descend(loss, self.model, self.optimizer, rate, 1.0)
        return {**terms, "gradient": norm}

    def _loss(self, model: torch.nn.Module, batch: MotionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective on one batch, and its terms: errors of the clean motion and of its differences, by region."""
        config, device = self.config, self.accelerator.device
        batch = batch.to(device)
        motion, given = batch.motion, batch.known_given
        before = motion.shape[1] - self.windows.frames
        known, truth = motion[:, :before], motion[:, before:]
        count = len(motion)
        chosen = 1 - torch.rand(count, device=device) ** config.near_noise
        step = (len(self.kept) * chosen).long().clamp(max=len(self.kept) - 1)
        alpha = self.kept[step][:, None, None]
        noisy = alpha.sqrt() * truth + (1 - alpha).sqrt() * torch.randn_like(truth)
        with self.accelerator.autocast():
            told = model(
                noisy, step, batch.condition, known + config.blur * torch.randn_like(known), given,
                torch.rand(count, device=device) >= config.unheard,
                batch.style, torch.rand(count, device=device) >= config.unstyled,
            )  # fmt: skip
        error = told.float() - truth
        valid = batch.valid[:, before:]
        snr = (alpha / (1 - alpha))[:, 0, 0]
        counts = ((snr + 1).clamp(max=config.most_snr) / config.most_snr)[:, None] * valid
        position = _mean(error.square() @ self.weight, counts)
        # The last known frame has no error: a predicted window must continue from it.
        joined = torch.cat([torch.zeros_like(error[:, :1]), error], dim=1).diff(dim=1)
        moving = counts.clone()
        moving[:, 0] *= given
        velocity = _mean(joined.square() @ self.weight, moving)
        parts = {
            name: _mean(error[..., part].square().mean(-1), counts).detach() for name, part in region_slices().items()
        }
        loss = position + config.velocity * velocity
        return loss, {"loss": loss.detach(), "velocity": velocity.detach(), **parts}


def coefficient_weights(size: int) -> Tensor:
    """Return weights (size,): how much the squared error of each number counts; sums to 1."""
    weight = torch.zeros(size)
    for region, part in region_slices().items():
        weight[part] = REGION_WEIGHTS[region] / (part.stop - part.start)
    return weight / weight.sum()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)


def run(config: SpeechToMotionTrainingConfig, until: int | None = None) -> Path | None:
    """Load what ``config`` names, and train to the end, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    clips = load_motion_clips(Path(config.data), Path(config.cache))
    logger.info(f"{len(clips)} stretches of {len({clip.person for clip in clips})} people.")
    trainer = SpeechToMotionTrainer(config, clips)
    trainer.train(until)
    return trainer.run.newest_weights
