"""Train the lip refiner on top of a finished motion diffusion, and choose its gate.

::

    superface train lip-refiner --set data=$SUPERFACE_DATA --set diffusion=runs/speech_to_motion/final --out runs/lip_refiner

The gate is the one of ``GATES`` under which mouths of people who were held out open and shut most truly, of those that are no
less true than audio-to-lip alone on the clips for validation. If none is, the gate is 0: the refiner is never worse.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor
from transformers.utils import logging

from ...data.batch import Batch
from ...face_model.lips import mouth_opening
from ...models.speech_to_motion.conditioning import MOUTH, empty_condition, scaled_condition
from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.lip_refiner import LipRefiner
from ...models.speech_to_motion.motion_statistics import MotionStatistics
from ...models.speech_to_motion.motion_vector import region_slices
from ...models.speech_to_motion.noise import scheduler_for
from ...utils.settings import number
from ..audio_to_lip.loss import LipLossWeights, lip_loss
from ..audio_to_lip.validation import correlation
from ..core.averaging import averaged_copy
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import falling_rate
from .clips import MotionClip, load_motion_clips

logger = logging.get_logger(__name__)

GATES = (0.0, 0.25, 0.5, 0.75, 1.0)
INFERENCE_STEPS = 8
CHECKPOINT_MINUTES = 2.0


@dataclass
class LipRefinerTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        data, cache: as of the diffusion's training.
        diffusion: folder of its ``final``.
        out: folder for the refiner and the figures that chose its gate.
        steps, batch_size, learning_rate: length and pace; a batch is that many windows.
        blind: share of windows in which the diffused mouth is hidden: it is truer on people the diffusion was trained on.
    """

    data: str = "data"
    cache: str = ".cache/speech_to_motion"
    diffusion: str = "runs/speech_to_motion/final"
    out: str = "runs/lip_refiner"
    steps: int = number(600, low=1)
    batch_size: int = number(24, low=1)
    learning_rate: float = number(5e-4, low=0)
    blind: float = number(0.5, low=0, high=1)
    ema: float = number(0.98, low=0, high=1)
    seed: int = 0


@dataclass(eq=False)
class LipWindows(Batch):
    """Windows of F frames of one clip or several.

    Attributes:
        condition: (N, F, C) what is heard.
        diffused: (N, F, M) the mouth of the diffusion, scaled.
        truth: (N, F, M) the mouth in its own unit.
        valid: (N, F) 1 where there is a label.
    """

    condition: Tensor
    diffused: Tensor
    truth: Tensor
    valid: Tensor

    @classmethod
    def joined(cls, parts: Sequence[LipWindows]) -> LipWindows:
        """Return all windows of several clips."""
        names = ("condition", "diffused", "truth", "valid")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.inference_mode()
def lip_windows(
    clip: MotionClip, denoiser: MotionDenoiser, statistics: MotionStatistics, scheduler: Any, seed: int
) -> LipWindows:
    """Return a clip in windows, with the mouth that the diffusion gives to each on its own."""
    frames, before = denoiser.config.frames, denoiser.config.known_frames
    heard = scaled_condition(clip.condition, statistics)
    count = -(-len(heard) // frames)
    total = count * frames
    padded = np.concatenate(
        [
            empty_condition(before, heard.shape[1]), heard,
            empty_condition(total - len(heard), heard.shape[1]),
        ]
    )  # fmt: skip
    condition = torch.from_numpy(np.stack([padded[n * frames : n * frames + before + frames] for n in range(count)]))
    scheduler = scheduler_for(scheduler, INFERENCE_STEPS)
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn((count, frames, denoiser.config.motion_size), generator=generator)
    for step in scheduler.timesteps:
        sample = scheduler.step(denoiser(sample, step, condition), step, sample).prev_sample
    part = region_slices()["mouth"]
    truth = np.pad(clip.vectors[:, part], ((0, total - len(heard)), (0, 0)))
    valid = np.arange(total) < len(heard)
    return LipWindows(
        condition[:, before:].clone(),
        sample[..., part].clone(),
        torch.from_numpy(truth.reshape(count, frames, -1)),
        torch.from_numpy(valid.reshape(count, frames).astype(np.float32)),
    )


def refined(refiner: LipRefiner, statistics: MotionStatistics, windows: LipWindows, gate: float) -> Tensor:
    """Return audio-to-lip's mouth (N, F, M) with so much of the residual, in the mouth's own unit."""
    part = region_slices()["mouth"]
    own = windows.condition[..., -MOUTH:]
    residual = refiner(windows.condition, windows.diffused)
    return (own + gate * residual) * statistics.spread[part] + statistics.mean[part]


def train_refiner(
    config: LipRefinerTrainingConfig, windows: LipWindows, statistics: MotionStatistics, until: int | None = None
) -> tuple[TrainingRun, LipRefiner]:
    """Train to the end, or to step ``until``; continue from the newest checkpoint in ``config.out``.

    Returns:
        The run, and the averaged refiner.
    """
    accelerator = accelerator_for()
    torch.manual_seed(config.seed)
    refiner = LipRefiner(mouth_size=windows.truth.shape[-1], condition_size=windows.condition.shape[-1])
    averaged = averaged_copy(refiner, accelerator.device)
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=config.learning_rate, weight_decay=0.02)
    model, optimizer = accelerator.prepare(refiner, optimizer)
    training = TrainingRun(
        Path(config.out),
        accelerator,
        averaged,
        config.ema,
        CHECKPOINT_MINUTES,
        config,
        steps=config.steps,
        seed=config.seed,
    )
    training.resume()
    for step in training.steps_left(until):
        chosen = torch.randint(len(windows.truth), (config.batch_size,))
        shown = (torch.rand(config.batch_size, 1, 1) >= config.blind).float()
        batch = windows.mapped(lambda values, chosen=chosen: values[chosen])  # type: ignore[misc]
        batch = replace(batch, diffused=batch.diffused * shown).to(accelerator.device)
        loss, terms = lip_loss(refined(model, statistics, batch, 1.0), batch.truth, batch.valid, LipLossWeights())
        rate = config.learning_rate * falling_rate(step, config.steps, 30, 0.5 * config.steps)
        training.descend(loss, model, optimizer, rate, 1.0)
        training.tick({"loss": loss.detach(), **terms})
    training.save()
    return training, averaged.cpu()


@torch.inference_mode()
def opening_correlation(
    refiner: LipRefiner, statistics: MotionStatistics, clips: Sequence[LipWindows], gate: float
) -> float:
    """Return the mean over clips of how truly the mouth opens and shuts (Pearson's correlation)."""
    scores = []
    for windows in clips:
        valid = windows.valid.bool()
        own = mouth_opening(refined(refiner, statistics, windows, gate))[valid]
        scores.append(correlation(own.numpy(), mouth_opening(windows.truth)[valid].numpy()))
    return float(np.mean(scores))


def choose_gate(held_out: dict[float, float], validation: dict[float, float]) -> float:
    """Return the best gate for those held out, of those that are no worse than none for validation."""
    allowed = [gate for gate in held_out if validation[gate] >= validation[0.0]]
    return max(allowed, key=lambda gate: held_out[gate])


def run(config: LipRefinerTrainingConfig, until: int | None = None) -> Path | None:
    """Train to the end, or to step ``until``; in the end choose the gate, and write the refiner and ``gates.json``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    folder = Path(config.diffusion)
    denoiser = MotionDenoiser.from_pretrained(folder / "denoiser").eval()
    statistics = MotionStatistics.from_pretrained(folder / "statistics")
    scheduler = DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
    clips = load_motion_clips(Path(config.data), Path(config.cache))
    windows = [lip_windows(clip, denoiser, statistics, scheduler, config.seed + n) for n, clip in enumerate(clips)]
    shown = [own for own, clip in zip(windows, clips, strict=True) if not clip.held_out]
    training, refiner = train_refiner(config, LipWindows.joined(shown), statistics, until)
    if training.progress < 1 or not training.accelerator.is_main_process:
        return training.newest_weights
    groups = {
        "held_out": [own for own, clip in zip(windows, clips, strict=True) if clip.held_out and not clip.validation],
        "validation": [own for own, clip in zip(windows, clips, strict=True) if clip.validation],
    }
    figures = {
        name: {gate: opening_correlation(refiner, statistics, group, gate) for gate in GATES}
        for name, group in groups.items()
    }
    gate = choose_gate(figures["held_out"], figures["validation"])
    refiner.register_to_config(gate=gate)
    refiner.save_pretrained(training.final)
    (training.final / "gates.json").write_text(json.dumps({"gate": gate, **figures}, indent=1))
    logger.info(f"gate {gate}: {figures}")
    return training.final
