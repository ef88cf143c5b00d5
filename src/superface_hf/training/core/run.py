"""What trainers share: averaged weights, a log, checkpoints that a crash cannot spoil."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...errors import SuperFaceError
from ...hub.quiet import quiet_loading
from ...utils.files import follow_umask, hold, part_of
from ...utils.settings import as_dict, as_yaml
from .averaging import follow

ModuleT = TypeVar("ModuleT", bound=nn.Module)
LOG_EVERY = 20  # steps


class TrainingError(SuperFaceError):
    """A training that cannot go on."""


class TrainingRun:
    """The state of a training besides what Accelerate keeps: the step, the averaged weights, and the folder of it all.

    Only the main process writes.

    Args:
        out: folder for ``log.jsonl`` and ``checkpoint``.
        averaged: the model that follows the trained one, and is released.
        ema: decay of the average.
        checkpoint_minutes: how often :meth:`tick` saves.
        config: a dataclass, written down with each checkpoint.
        first_checkpoint: the step after which :meth:`tick` saves for the first time: what is wrong with saving shows early.
        log_every: steps whose mean makes one line of the log.
    """

    def __init__(
        self, out: Path, accelerator: Accelerator, averaged: PreTrainedModel, ema: float, checkpoint_minutes: float,
        config: Any, first_checkpoint: int = 20, log_every: int = LOG_EVERY,
    ) -> None:  # fmt: skip
        self.out, self.accelerator, self.averaged, self.ema, self.config = out, accelerator, averaged, ema, config
        if accelerator.is_main_process:
            hold(out, "a training")
        self.step = 0
        self.log_every = log_every
        self._first, self._period = first_checkpoint, 60 * checkpoint_minutes
        self._started = self._saved = time.monotonic()
        self._sums: dict[str, tuple[Tensor | float, int]] = {}
        accelerator.register_save_state_pre_hook(_without_wrapper)
        accelerator.register_load_state_pre_hook(_into_unwrapped(accelerator))

    def follow(self, model: nn.Module) -> None:
        """Takes the averaged weights a little toward the trained ones; a young average follows quickly."""
        follow(self.averaged, self.accelerator.unwrap_model(model), self.ema, self.step)

    def tick(self, terms: Mapping[str, float | Tensor], everyone: Any = None, **progress: Any) -> None:
        """Counts a step; logs and saves when it is time to. ``everyone`` and ``progress`` see :meth:`save`.

        Terms may stay on the device: they are only read when they are logged, as means over the steps since the last time.
        """
        self.step += 1
        for name, value in terms.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        if self.step % self.log_every == 0:
            means = {name: float(total) / count for name, (total, count) in self._sums.items()}
            self._sums = {}
            self.log({"step": self.step, "seconds": round(time.monotonic() - self._started, 1), **means})
        if self.step == self._first or self._is_time():
            self.save(everyone, **progress)

    def log(self, record: dict[str, Any]) -> None:
        """A line of ``log.jsonl``, whose numbers go to the experiment trackers too."""
        if not self.accelerator.is_main_process:
            return
        with open(self.out / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")
        self.accelerator.log(_numbers(record), step=self.step)

    def log_picture(self, name: str, path: Path) -> None:
        """Shows a picture file in tensorboard, if that is one of the trackers."""
        from ...media import load_picture

        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard" and self.accelerator.is_main_process:
                picture = load_picture(path)
                tracker.log_images({name: picture[None]}, step=self.step, dataformats="NHWC")

    def _is_time(self) -> bool:
        """Whether the main process finds that it is time to save: the clocks of the others do not count."""
        due = time.monotonic() - self._saved > self._period
        if self.accelerator.num_processes > 1:
            flag = torch.tensor([float(due)], device=self.accelerator.device)
            due = bool(broadcast(flag)[0] > 0)
        return due

    def save(self, everyone: Any = None, **progress: Any) -> None:
        """Writes the checkpoint beside the last one and swaps: at any moment a crash leaves a whole one.

        All processes call it at the same step.

        Args:
            everyone: what :meth:`resume` shall give back as the list ``everyone``, an entry of each process.
            progress: what else it shall give back. JSON must be able to hold all of it.
        """
        self._saved = time.monotonic()
        progress["everyone"] = gather_object([everyone])
        if not self.accelerator.is_main_process:
            return
        current, fresh, old = self._folders()
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            self._write(fresh, progress)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if current.exists():
            shutil.rmtree(old, ignore_errors=True)
            current.rename(old)
        fresh.rename(current)
        shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, progress: dict[str, Any]) -> None:
        self.accelerator.save_state(str(folder))
        with quiet_loading():
            self.averaged.save_pretrained(folder / "averaged")
        (folder / "config.yaml").write_text(as_yaml(self.config))
        follow_umask(folder)
        # Last: where this file is whole, everything is.
        everything = {"step": self.step, **progress, "config": as_dict(self.config)}
        _flush(folder)
        (folder / "progress.json").write_text(json.dumps(everything))
        _flush(folder)

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The whole checkpoint with most steps, wherever a crash left it, and its progress."""
        found = [(folder, progress) for folder in self._folders() if (progress := _progress(folder)) is not None]
        return max(found, key=lambda pair: pair[1]["step"], default=None)

    def resume(self) -> dict[str, Any]:
        """Goes on from the newest checkpoint, if there is one: what was saved with it, or nothing.

        Raises:
            TrainingError: it does not fit what is trained.
        """
        found = self.newest()
        if self.accelerator.is_main_process:
            cut_log(self.out / "log.jsonl", found[1]["step"] if found else 0)
        if found is None:
            return {}
        checkpoint, progress = found
        try:
            self.accelerator.load_state(str(checkpoint))
            with quiet_loading():
                averaged = type(self.averaged).from_pretrained(checkpoint / "averaged", dtype=torch.float32)
            self.averaged.load_state_dict(averaged.state_dict())
        except Exception as error:  # pickles, zip files and tensors each have errors of their own for what is damaged
            raise TrainingError(
                f"The checkpoint {checkpoint} is damaged or does not fit this training ({' '.join(str(error).split())[:300]}): "
                f"go on with the settings it was begun with (its config), or choose another folder for a new training."
            ) from error
        self.step = progress["step"]
        return progress

    def _folders(self) -> tuple[Path, Path, Path]:
        """The checkpoint, the one being written, and the last one while they are swapped."""
        return self.out / "checkpoint", self.out / "checkpoint.new", self.out / "checkpoint.old"


def _progress(checkpoint: Path) -> dict[str, Any] | None:
    try:
        progress = json.loads((checkpoint / "progress.json").read_text())
    except (OSError, ValueError):
        return None
    return progress if isinstance(progress, dict) and isinstance(progress.get("step"), int) else None


def cut_log(path: Path, step: int) -> None:
    """Takes out what a killed training logged after the checkpoint that is gone on from, or in half a line: those steps are
    taken, and logged, again."""
    if not path.exists():
        return
    lines = path.read_text(errors="replace").splitlines()
    kept = [line for line in lines if _logged_step(line) <= step]
    if len(kept) < len(lines):
        temporary = part_of(path)
        temporary.write_text("".join(f"{line}\n" for line in kept))
        temporary.replace(path)


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _flush(folder: Path) -> None:
    """Has all files of a folder on the disk before their names change."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _numbers(record: dict[str, Any], section: str = "") -> dict[str, float]:
    """What trackers can plot: numbers, those of nested records as ``outer/inner``."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            numbers.update(_numbers(value, f"{section}{name}/"))
        elif isinstance(value, (int, float)) and name != "step":
            numbers[section + name] = value
    return numbers


def _without_wrapper(models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
    """Saves weights under their own names: a checkpoint of several processes can be resumed by one, and the other way."""
    for index, state in enumerate(weights):
        weights[index] = OrderedDict((name.removeprefix("module."), value) for name, value in state.items())


def _into_unwrapped(accelerator: Accelerator) -> Callable[[list[nn.Module], str], None]:
    def hook(models: list[nn.Module], folder: str) -> None:
        models[:] = [accelerator.unwrap_model(model) for model in models]

    return hook


def channels_last(module: ModuleT) -> ModuleT:
    """The memory layout that convolutions are several times faster in on the CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
