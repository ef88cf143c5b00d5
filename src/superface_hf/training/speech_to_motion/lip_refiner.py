"""Trains the lip refiner on top of a finished motion diffusion, and chooses its gate.

::

    superface train lip-refiner --set data=$SUPERFACE_DATA --set diffusion=runs/speech_to_motion/final --out runs/lip_refiner

The gate is the one of ``GATES`` under which mouths of people who were held out open and shut most truly, of those that are no
less true than audio-to-lip alone on the clips for validation. If none is, the gate is 0: the refiner is never worse.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from transformers.utils import logging

from ...face_model.lips import mouth_opening
from ...models.speech_to_motion.conditioning import MOUTH, empty_condition, scaled_condition
from ...models.speech_to_motion.denoiser import MotionDenoiser
from ...models.speech_to_motion.lip_refiner import LipRefiner
from ...models.speech_to_motion.motion_statistics import MotionStatistics
from ...models.speech_to_motion.motion_vector import region_slices
from ..audio_to_lip.loss import LipLossWeights, lip_loss
from ..audio_to_lip.validation import correlation
from ..core.schedules import falling_rate
from .data import MotionClip, load_motion_clips

logger = logging.get_logger(__name__)

GATES = (0.0, 0.25, 0.5, 0.75, 1.0)
INFERENCE_STEPS = 8


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
    steps: int = 600
    batch_size: int = 24
    learning_rate: float = 5e-4
    blind: float = 0.5
    ema: float = 0.98
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LipWindows:
    """Windows of F frames of one clip: ``condition`` (N, F, C) as heard, ``diffused`` (N, F, M) scaled, ``truth`` (N, F, M)
    in the mouth's own unit, ``valid`` (N, F)."""

    condition: Tensor
    diffused: Tensor
    truth: Tensor
    valid: Tensor


@torch.inference_mode()
def lip_windows(
    clip: MotionClip, denoiser: MotionDenoiser, statistics: MotionStatistics, scheduler: DDIMScheduler, seed: int
) -> LipWindows:
    """A clip in windows, with the mouth that the diffusion gives to each on its own."""
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
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(INFERENCE_STEPS)
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
    """(N, F, M) audio-to-lip's mouth and so much of the residual, in the mouth's own unit."""
    part = region_slices()["mouth"]
    own = windows.condition[..., -MOUTH:]
    residual = refiner(windows.condition, windows.diffused)
    return (own + gate * residual) * statistics.spread[part] + statistics.mean[part]


def train_refiner(config: LipRefinerTrainingConfig, windows: LipWindows, statistics: MotionStatistics) -> LipRefiner:
    """The refiner, its weights averaged over the last steps."""
    torch.manual_seed(config.seed)
    refiner = LipRefiner(mouth_size=windows.truth.shape[-1], condition_size=windows.condition.shape[-1])
    averaged = copy.deepcopy(refiner).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=config.learning_rate, weight_decay=0.02)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * falling_rate(step, config.steps, 30, 0.5 * config.steps)
        chosen = torch.randint(len(windows.truth), (config.batch_size,))
        shown = (torch.rand(config.batch_size, 1, 1) >= config.blind).float()
        batch = LipWindows(
            windows.condition[chosen], windows.diffused[chosen] * shown, windows.truth[chosen], windows.valid[chosen]
        )
        loss, _ = lip_loss(refined(refiner, statistics, batch, 1.0), batch.truth, batch.valid, LipLossWeights())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(refiner.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mine, new in zip(averaged.parameters(), refiner.parameters(), strict=True):
                mine.lerp_(new, 1 - min(config.ema, (1 + step) / (10 + step)))
    return averaged


@torch.inference_mode()
def opening_correlation(
    refiner: LipRefiner, statistics: MotionStatistics, clips: Sequence[LipWindows], gate: float
) -> float:
    """The mean over clips of how truly the mouth opens and shuts (Pearson's correlation)."""
    scores = []
    for windows in clips:
        valid = windows.valid.bool()
        own = mouth_opening(refined(refiner, statistics, windows, gate))[valid]
        scores.append(correlation(own.numpy(), mouth_opening(windows.truth)[valid].numpy()))
    return float(np.mean(scores))


def choose_gate(held_out: dict[float, float], validation: dict[float, float]) -> float:
    """The best gate for those held out, of those that are no worse than none for validation."""
    allowed = [gate for gate in held_out if validation[gate] >= validation[0.0]]
    return max(allowed, key=lambda gate: held_out[gate])


def run(config: LipRefinerTrainingConfig) -> dict[str, dict[float, float]]:
    """Trains, chooses, and writes the refiner with its gate."""
    torch.set_num_threads(1)
    folder = Path(config.diffusion)
    denoiser = MotionDenoiser.from_pretrained(folder / "denoiser").eval()
    statistics = MotionStatistics.from_pretrained(folder / "statistics")
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    clips = load_motion_clips(Path(config.data), Path(config.cache))
    windows = [lip_windows(clip, denoiser, statistics, scheduler, config.seed + n) for n, clip in enumerate(clips)]
    shown = [own for own, clip in zip(windows, clips, strict=True) if not clip.held_out]
    joined = LipWindows(
        *(torch.cat([getattr(own, name) for own in shown]) for name in ("condition", "diffused", "truth", "valid"))
    )
    refiner = train_refiner(config, joined, statistics)
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
    out = Path(config.out)
    refiner.save_pretrained(out)
    (out / "gates.json").write_text(json.dumps({"gate": gate, **figures}, indent=1))
    logger.warning(f"gate {gate}: {figures}")
    return figures


def train(config: LipRefinerTrainingConfig) -> Path:
    """As :func:`run`; gives the folder of the refiner."""
    run(config)
    return Path(config.out)
