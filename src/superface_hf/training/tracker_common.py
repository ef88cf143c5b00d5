"""What the trainings of both halves of the tracker share: frozen stages, averaged weights, checkpoints, a clock."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import nn

from ..files import hold, write_tensors
from ..models.tracker.backbone import LiteBackbone
from .run import cut_log

logger = logging.getLogger(__name__)
LOG_EVERY = 50  # steps


def frozen_modules(backbone: LiteBackbone, stages: int) -> list[nn.Module]:
    """The stem and the first ``stages`` stages; none at 0."""
    return [backbone.stem, *backbone.stages[:stages]] if stages else []


def freeze_stages(backbone: LiteBackbone, stages: int) -> None:
    """Takes the stem and the first stages out of training, so that no gradient is computed for them."""
    for module in frozen_modules(backbone, stages):
        module.requires_grad_(False)


def train_mode(network: nn.Module, stages: int) -> None:
    """Training mode, but for the batch norms of the frozen stages."""
    network.train()
    for module in frozen_modules(typing.cast(LiteBackbone, network.backbone), stages):
        module.eval()


class Averaged:
    """An exponential moving average of a network, its batch-norm statistics included."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.updates = network, decay, 0
        self.model = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        # A young average follows quickly, or it would keep the untrained start for long.
        decay = min(self.decay, self.updates / (self.updates + 20))
        for mine, new in zip(self.model.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)


class TrainingClock:
    """Counts steps and seconds over restarts, and gives the learning rate's course."""

    def __init__(self, steps: int, minutes: float, warmup: int = 100) -> None:
        self.steps, self.minutes, self.warmup = steps, minutes, warmup
        self.step, self.seconds = 0, 0.0
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self.seconds, self._last = self.seconds + now - self._last, now
        self.step += 1

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return min(1.0, max(self.step / self.steps, self.seconds / 60 / self.minutes))

    @property
    def over(self) -> bool:
        return self.progress >= 1

    def rate(self) -> float:
        """Warm-up, then a cosine to zero: a factor on the peak learning rate."""
        return min(1.0, (self.step + 1) / self.warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2)


class Saved(Protocol):
    """What a checkpoint keeps besides the averaged weights: an ``Accelerator``, or a :class:`PlainState`."""

    def save_state(self, output_dir: str) -> Any: ...

    def load_state(self, input_dir: str) -> Any: ...


class PlainState:
    """Network and optimizer on one device, for a training without Accelerate."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.optimizer = network, optimizer

    def save_state(self, output_dir: str) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "state.tmp"
        torch.save({"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}, temporary)
        temporary.rename(folder / "state.pt")

    def load_state(self, input_dir: str) -> None:
        state = torch.load(Path(input_dir) / "state.pt", map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


class Checkpoints:
    """Saves a training every few minutes and takes it up again."""

    def __init__(self, out: Path, saved: Saved, averaged: Averaged, clock: TrainingClock, seconds: float) -> None:
        self.out, self.saved, self.averaged, self.clock, self.seconds = out, saved, averaged, clock, seconds
        self.weights = out / "averaged.safetensors"
        hold(out, "a training")
        self._saved_at = time.monotonic()
        self._recent: list[dict[str, float]] = []

    def step(self, losses: dict[str, float], validate: Callable[[], dict[str, float]]) -> None:
        """Counts a step of the optimizer; logs the mean losses now and then; validates and saves when it is time to."""
        self.averaged.update()
        self.clock.tick()
        self._recent.append(losses)
        if self.clock.step % LOG_EVERY == 0:
            means = {name: sum(each[name] for each in self._recent) / len(self._recent) for name in losses}
            shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            logger.info("step %d  %.1f min  %s", self.clock.step, self.clock.seconds / 60, shown)
            self._recent.clear()
        if self.clock.over or time.monotonic() - self._saved_at >= self.seconds:
            figures = validate()
            logger.info("step %d  %s", self.clock.step, figures)
            self._save({"step": self.clock.step, "minutes": self.clock.seconds / 60, **figures})

    def _save(self, figures: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.saved.save_state(str(self.out / "state"))
        state = {name: tensor.contiguous() for name, tensor in self.averaged.model.state_dict().items()}
        write_tensors(self.weights, state)
        progress = {"step": self.clock.step, "seconds": self.clock.seconds, "updates": self.averaged.updates}
        (self.out / "progress.json").write_text(json.dumps(progress))
        with (self.out / "figures.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Goes on from the last checkpoint, where there is one."""
        progress_file = self.out / "progress.json"
        progress = json.loads(progress_file.read_text()) if progress_file.exists() else None
        cut_log(self.out / "figures.jsonl", progress["step"] if progress else 0)
        if progress is None:
            return
        self.saved.load_state(str(self.out / "state"))
        self.averaged.model.load_state_dict(load_file(self.weights))
        self.averaged.updates = progress["updates"]
        self.clock.step, self.clock.seconds = progress["step"], progress["seconds"]
