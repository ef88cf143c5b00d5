"""The noise schedule of the motion diffusion, and at which of its timesteps a window is sampled."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from diffusers import DPMSolverMultistepScheduler

# How close the timesteps lie to pure noise. A head stays where it is for seconds, so that a window's 75 frames tell its
# place through noise in which no single frame can be made out: with evenly spaced timesteps 12 steps reach 0.7 of the
# spread of 200 steps, with these 0.95 of it.
NEAR_NOISE = 2.5


def motion_scheduler() -> DPMSolverMultistepScheduler:
    """Return the scheduler: DPM-Solver++ of second order (Lu et al. 2022) over a cosine schedule (Nichol and Dhariwal
    2021); the network predicts the clean sample."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
    )


def scheduler_for(scheduler: Any, steps: int, device: torch.device | str = "cpu") -> Any:
    """Return a copy of a diffusers scheduler that is ready to sample one window.

    Args:
        scheduler: the scheduler, for a network that predicts the clean sample. If its ``set_timesteps`` takes timesteps, it
            gets :func:`sampling_timesteps`; otherwise it spaces them itself.
        steps: number of steps; fewer where so many timesteps do not exist.
    """
    scheduler = copy.deepcopy(scheduler)
    if "timesteps" in inspect.signature(scheduler.set_timesteps).parameters:
        scheduler.set_timesteps(
            timesteps=sampling_timesteps(steps, scheduler.config.num_train_timesteps), device=device
        )
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler


def sampling_timesteps(steps: int, train_timesteps: int) -> list[int]:
    """Return at most ``steps`` timesteps, from ``train_timesteps - 1`` down, denser where there is most noise."""
    share = np.arange(steps) / steps
    timesteps = np.round((train_timesteps - 1) * (1 - share**NEAR_NOISE)).astype(int)
    return sorted(set(timesteps.tolist()), reverse=True)
