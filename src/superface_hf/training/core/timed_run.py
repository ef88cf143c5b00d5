"""A training that lasts a given time on one device: averaged weights, a log, files that a crash cannot spoil.

It needs neither Accelerate nor a config file, as a rented GPU may have neither. What it releases is small enough to be sent
back from there; what it resumes from may lie elsewhere.
"""

from __future__ import annotations

import copy
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from .averaging import follow
from .schedules import cosine, rising

LOG_SECONDS, SAVE_SECONDS = 15, 120
WARMUP = 40  # steps


def release(weights: Path, model: PreTrainedModel, folder: Path) -> None:
    """Makes a checkpoint, in half precision, of a run's ``NAME.safetensors``."""
    model.load_state_dict(load_file(weights))
    model.half().save_pretrained(folder)


class Stateful(Protocol):
    """A network, an optimizer."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


def clip_gradients(network: nn.Module, largest: float) -> None:
    """Limits the gradient's length; one that is not finite becomes zero, without waiting for the device to say so."""
    torch.nn.utils.clip_grad_norm_(network.parameters(), largest)
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(0.0, 0.0, 0.0)


class TimedRun:
    """The state of a training besides its networks.

    Args:
        out: folder for ``NAME.safetensors``, the averaged weights in half precision, and ``NAME.jsonl``, the log.
        state: folder for ``NAME_state.pt``, from which it goes on.
        name: of the model.
        model: the network whose weights are averaged and released.
        kept: what else it resumes from: optimizers, other networks.
        minutes: how long it trains, earlier runs included; ``began`` is when this one began (``time.monotonic``), so that
            reading the data counts.
        ema: decay of the average.
    """

    def __init__(
        self, out: Path, state: Path, name: str, model: nn.Module, kept: Mapping[str, Stateful], minutes: float,
        began: float, ema: float = 0.998,
    ) -> None:  # fmt: skip
        self.weights, self.log, self.state = (
            out / f"{name}.safetensors",
            out / f"{name}.jsonl",
            state / f"{name}_state.pt",
        )
        for folder in (out, state):
            folder.mkdir(parents=True, exist_ok=True)
        self.model, self.ema, self.minutes = model, ema, minutes
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.kept: dict[str, Stateful] = {"model": model, "average": self.average, **kept}
        self.step, self._seconds_before = 0, 0.0
        self._began = self._saved = self._logged = began
        self._logged_step = 0
        self._recent: deque[tuple[int, dict[str, Tensor]]] = deque(maxlen=50)
        self._resume()

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    @property
    def progress(self) -> float:
        """How much of the training is done, in [0, 1]."""
        return min(1.0, self.seconds / (60 * self.minutes))

    def rate(self) -> float:
        """Warm-up, then a cosine to nearly zero: a factor on the peak learning rate."""
        return rising(self.step, WARMUP) * cosine(self.progress)

    def tick(self, losses: dict[str, Tensor], pictures: int, validate: Callable[[nn.Module], dict[str, float]]) -> bool:
        """Counts a step of ``pictures``; logs, validates and saves when it is time to. Whether the training goes on."""
        self.step += 1
        follow(self.average, self.model, self.ema, self.step)
        self._recent.append((pictures, {name: value.detach() for name, value in losses.items()}))
        now, over = time.monotonic(), self.progress >= 1
        if now - self._logged >= LOG_SECONDS or over or self.step == 1:
            self._print(now)
        if now - self._saved >= SAVE_SECONDS or over:
            self._save(validate(self.average))
        return not over

    def _print(self, now: float) -> None:
        means = {
            name: float(torch.stack([losses[name] for _, losses in self._recent]).float().mean())
            for name in self._recent[-1][1]
        }
        steps = self.step - self._logged_step
        speed = steps * self._recent[-1][0] / max(1e-3, now - self._logged)
        self._logged, self._logged_step = now, self.step
        self._write({"step": self.step, "minutes": self.seconds / 60, "pictures_per_second": speed, **means})

    def _write(self, figures: dict[str, float]) -> None:
        line = json.dumps({name: round(value, 5) for name, value in figures.items()})
        print(line, flush=True)
        with self.log.open("a") as file:
            file.write(line + "\n")

    def _save(self, figures: dict[str, float]) -> None:
        facts = {"step": self.step, "minutes": self.seconds / 60, **figures}
        self._write(facts)
        tensors = {
            name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
            for name, value in self.average.state_dict().items()
        }
        # "format" is what transformers asks for.
        self._replace(self.weights, lambda path: save_file(tensors, path, {"format": "pt", "facts": json.dumps(facts)}))
        state = {name: each.state_dict() for name, each in self.kept.items()}
        whole = {"step": self.step, "seconds": self.seconds, "state": state}
        self._replace(self.state, lambda path: torch.save(whole, path))
        self._saved = time.monotonic()

    @staticmethod
    def _replace(target: Path, write: Callable[[Path], object]) -> None:
        unfinished = target.with_suffix(".part")
        write(unfinished)
        unfinished.replace(target)

    def _resume(self) -> None:
        if not self.state.is_file():
            return
        device = next(self.model.parameters()).device
        whole = torch.load(self.state, map_location=device, weights_only=True)
        for name, each in self.kept.items():
            each.load_state_dict(whole["state"][name])
        self.step = self._logged_step = whole["step"]
        self._seconds_before = whole["seconds"]
        print(f"goes on from step {self.step}, {self.seconds / 60:.1f} min", flush=True)
