"""Random numbers that follow from the seed, the step and the process alone: a resumed training draws the same ones."""

from __future__ import annotations

import numpy as np
import torch


def numpy_generator(*numbers: int) -> np.random.Generator:
    """Return a generator of numpy's, for these whole numbers: the seed, the step, the process, and whatever else tells draws
    apart."""
    return np.random.default_rng(numbers)


def torch_generator(*numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of torch's, for these whole numbers."""
    return torch.Generator(device).manual_seed(_seed(numbers))


def seed_torch(*numbers: int) -> None:
    """Start torch's own random numbers, on all devices."""
    torch.manual_seed(_seed(numbers))


def _seed(numbers: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
