"""At which noise the motion diffusion samples."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler

from superface_hf.models.speech_to_motion.noise import motion_scheduler, sampling_timesteps, scheduler_for

FRAMES = 75


def spread_of_places(scheduler) -> float:
    """Sample windows of heads that do not move, at places with a spread of 1, with the ideal denoiser."""
    torch.manual_seed(0)
    alphas = scheduler.alphas_cumprod
    sample = torch.randn(2000, FRAMES)
    for step in scheduler.timesteps:
        signal, noise = alphas[step].sqrt(), 1 - alphas[step]
        place = signal * sample.mean(1, keepdim=True) / (signal**2 + noise / FRAMES)
        sample = scheduler.step(place.expand(-1, FRAMES), step, sample).prev_sample
    return float(sample.mean(1).std())


def test_twelve_steps_keep_the_spread_of_what_lasts_a_window():
    assert spread_of_places(scheduler_for(motion_scheduler(), 12)) > 0.95
    even = motion_scheduler()
    even.set_timesteps(12)
    assert spread_of_places(even) < 0.8


@pytest.mark.parametrize("steps", [1, 2, 12, 1000])
def test_timesteps_fall_from_pure_noise(steps):
    timesteps = sampling_timesteps(steps, 1000)
    assert timesteps[0] == 999
    assert len(timesteps) <= steps
    assert all(later < earlier for earlier, later in pairwise(timesteps))


def test_another_scheduler_spaces_its_timesteps_itself_and_the_callers_is_left_alone():
    given = DDIMScheduler(prediction_type="sample")
    ready = scheduler_for(given, 7)
    assert len(ready.timesteps) == 7
    assert len(given.timesteps) == 1000
