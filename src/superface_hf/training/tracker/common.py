"""What the trainings of both halves of the tracker share: frozen stages, averaged weights, checkpoints, caches."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from safetensors.torch import load_file
from torch import nn

from ...models.backbone import LiteBackbone
from ...utils.files import hold, part_of, write_tensors
from ..core.averaging import follow
from ..core.run import cut_log
from ..core.schedules import TrainingClock

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

    def update(self) -> None:
        follow(self.model, self.network, self.decay, self.updates)
        self.updates += 1


class Draws(typing.Protocol):
    """What draws batches at random."""

    def state(self) -> Any:
        """Its random numbers, as JSON can hold them."""

    def restore(self, state: Any) -> None:
        """Goes on from a :meth:`state`."""


class RandomDraws:
    """Random numbers of a process, which a training goes on with."""

    random: np.random.Generator
    generator: torch.Generator

    def begin(self, seed: int, accelerator: Accelerator) -> None:
        """Each process draws its own."""
        seed += 1000 * accelerator.process_index
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def state(self) -> Any:
        return {"random": self.random.bit_generator.state, "generator": self.generator.get_state().tolist()}

    def restore(self, state: Any) -> None:
        self.random.bit_generator.state = state["random"]
        self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))


def cached(folder: Path, name: str, prepared: Path, *facts: Any) -> Path:
    """A file of a cache, named after all that its content follows from.

    Args:
        prepared: the set; it counts what files it has, and when they were written.
        facts: settings.
    """
    files = sorted(path for path in prepared.rglob("*") if path.is_file())
    listed = [(str(path.relative_to(prepared)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.sha256(repr((str(prepared.resolve()), listed, facts)).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    stem, _, ending = name.rpartition(".")
    return folder / f"{stem}_{digest}.{ending}"


class Checkpoints:
    """Saves a training every few minutes and takes it up again. Only the main process writes.

    Args:
        out: folder for ``averaged.safetensors``, ``state``, ``progress.json`` and the log ``figures.jsonl``.
        averaged, clock, draws: what goes on with the network and its optimizer.
        seconds: how often to save.
    """

    def __init__(
        self,
        out: Path,
        accelerator: Accelerator,
        averaged: Averaged,
        clock: TrainingClock,
        seconds: float,
        draws: Draws | None = None,
    ) -> None:
        self.out, self.accelerator, self.averaged, self.clock, self.seconds = out, accelerator, averaged, clock, seconds
        self.draws = draws
        self.weights = out / "averaged.safetensors"
        if accelerator.is_main_process:
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
        self.clock.seconds, due = self._agreed(time.monotonic() - self._saved_at >= self.seconds)
        if self.clock.over or due:
            figures = validate() if self.accelerator.is_main_process else {}
            logger.info("step %d  %s", self.clock.step, figures)
            self._save({"step": self.clock.step, "minutes": self.clock.seconds / 60, **figures})

    def _agreed(self, due: bool) -> tuple[float, bool]:
        """The main process's clock, by which all of them end and save at the same step."""
        if self.accelerator.num_processes == 1:
            return self.clock.seconds, due
        told = broadcast(
            torch.tensor([self.clock.seconds, float(due)], dtype=torch.float64, device=self.accelerator.device)
        )
        return float(told[0]), bool(told[1] > 0)

    def _save(self, figures: dict[str, Any]) -> None:
        self._saved_at = time.monotonic()
        draws = gather_object([self.draws.state() if self.draws else None])
        if not self.accelerator.is_main_process:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator.save_state(str(self.out / "state"))
        state = {name: tensor.contiguous() for name, tensor in self.averaged.model.state_dict().items()}
        write_tensors(self.weights, state)
        progress = {"step": self.clock.step, "seconds": self.clock.seconds, "updates": self.averaged.updates}
        temporary = part_of(self.out / "progress.json")
        temporary.write_text(json.dumps({**progress, "draws": draws}))
        temporary.replace(self.out / "progress.json")
        with (self.out / "figures.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")

    def resume(self) -> None:
        """Goes on from the last checkpoint, where there is one."""
        progress_file = self.out / "progress.json"
        progress = json.loads(progress_file.read_text()) if progress_file.exists() else None
        if self.accelerator.is_main_process:
            cut_log(self.out / "figures.jsonl", progress["step"] if progress else 0)
        if progress is None:
            return
        self.accelerator.load_state(str(self.out / "state"))
        self.averaged.model.load_state_dict(load_file(self.weights))
        self.averaged.updates = progress["updates"]
        self.clock.step, self.clock.seconds = progress["step"], progress["seconds"]
        draws, mine = progress.get("draws", []), self.accelerator.process_index
        if self.draws and mine < len(draws) and draws[mine]:
            self.draws.restore(draws[mine])
