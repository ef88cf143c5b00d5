"""What trainers share: averaged weights, a log, checkpoints that a crash cannot spoil, the learning rate, options."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
import typing
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

ConfigT = TypeVar("ConfigT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)
LOG_EVERY = 20  # steps


class TrainingRun:
    """The state of a training besides what Accelerate keeps: the step, the averaged weights, and the folder of it all.

    Args:
        out: folder for ``log.jsonl`` and ``checkpoint``.
        averaged: the model that follows the trained one, and is released.
        ema: decay of the average.
        checkpoint_minutes: how often :meth:`tick` saves.
        config: a dataclass, written down with each checkpoint.
    """

    def __init__(
        self, out: Path, accelerator: Accelerator, averaged: PreTrainedModel, ema: float, checkpoint_minutes: float,
        config: Any,
    ) -> None:  # fmt: skip
        self.out, self.accelerator, self.averaged, self.ema, self.config = out, accelerator, averaged, ema, config
        self.out.mkdir(parents=True, exist_ok=True)
        self.step = 0
        self._period = 60 * checkpoint_minutes
        self._started = self._saved = time.monotonic()

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Takes the averaged weights a little toward the trained ones; a young average follows quickly."""
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        current = self.accelerator.unwrap_model(model).parameters()
        for average, value in zip(self.averaged.parameters(), current, strict=True):
            average.lerp_(value, 1 - decay)

    def tick(self, terms: dict[str, float], **progress: Any) -> None:
        """Counts a step; logs it and saves when it is time to. ``progress`` see :meth:`save`."""
        self.step += 1
        now = time.monotonic()
        if self.step % LOG_EVERY == 0:
            self.log({"step": self.step, "seconds": round(now - self._started, 1), **terms})
        if now - self._saved > self._period:
            self.save(**progress)

    def log(self, record: dict[str, Any]) -> None:
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def save(self, **progress: Any) -> None:
        """Writes the checkpoint beside the last one and swaps: a crash while saving loses nothing.

        ``progress`` is what else :meth:`resume` shall give back, as JSON can hold it.
        """
        self._saved = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        fresh, current = self.out / "checkpoint.new", self.out / "checkpoint"
        shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.save_state(str(fresh))
        self.averaged.save_pretrained(fresh / "averaged")
        everything = {"step": self.step, **progress, "config": dataclasses.asdict(self.config)}
        (fresh / "progress.json").write_text(json.dumps(everything))
        shutil.rmtree(current, ignore_errors=True)
        fresh.rename(current)

    def resume(self) -> dict[str, Any]:
        """Goes on from the checkpoint, if there is one: what was saved with it, or nothing."""
        checkpoint = self.out / "checkpoint"
        if not (checkpoint / "progress.json").exists():
            return {}
        self.accelerator.load_state(str(checkpoint))
        averaged = type(self.averaged).from_pretrained(checkpoint / "averaged", dtype=torch.float32)
        self.averaged.load_state_dict(averaged.state_dict())
        progress = json.loads((checkpoint / "progress.json").read_text())
        self.step = progress["step"]
        return progress


def falling_rate(step: int, steps: int, warmup: int, decay: float) -> float:
    """A factor on the peak learning rate: a linear rise over ``warmup`` steps, a linear fall to a twentieth over the last
    ``decay`` steps."""
    return min(1.0, (step + 1) / max(warmup, 1)) * min(1.0, max(0.05, (steps - step) / max(decay, 1)))


def channels_last(module: ModuleT) -> ModuleT:
    """The memory layout that convolutions are several times faster in on the CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def add_options(parser: argparse.ArgumentParser, kind: type, leave_out: tuple[str, ...] = ()) -> None:
    """One option for each field of a configuration, required where the field has no default."""
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        # Optional values are given like the others.
        given = next((part for part in typing.get_args(types[field.name]) if part is not type(None)), types[field.name])
        name = f"--{field.name.replace('_', '-')}"
        if given is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(name, type=given, required=required, default=default)


def parse_config(kind: type[ConfigT], description: str | None) -> ConfigT:
    """A training configuration from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, kind)
    return kind(**vars(parser.parse_args()))
