"""The run of every trainer: it counts steps and time, averages the weights, logs, saves and resumes."""

from __future__ import annotations

import copy
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ...errors import SuperFaceError
from ...utils.files import follow_umask, hold
from .averaging import follow
from .checkpoints import (
    progress_of,
    restore_average,
    under_own_names,
    unwrapped_by,
    write_checkpoint,
    write_network,
)
from .log import TrainingLog
from .processes import share_gradients
from .randomness import seed_torch
from .schedules import set_rates

logger = logging.getLogger(__name__)
LOG_EVERY = 20  # steps
SKIPS_ALLOWED = 10  # steps without finite gradients, one after the other

# Measures the averaged weights; runs on the main process alone.
Measure = Callable[[], Mapping[str, float]]


class TrainingError(SuperFaceError):
    """A training cannot continue."""


class TrainingRun:
    """The state of a training besides what Accelerate keeps: step, time, averaged weights, and the folder of it all.

    Only the main process writes, and its clock counts for all of them.

    Args:
        out: folder for ``log.jsonl``, ``checkpoint``, and ``final`` when the training is over.
        averaged: the network that follows the trained one, and is released.
        ema: decay of the average.
        checkpoint_minutes: how often :meth:`tick` saves.
        config: a dataclass, written down with each checkpoint.
        first_checkpoint: the step after which :meth:`tick` saves for the first time: what is wrong with saving shows early.
        log_every: steps whose mean makes one line of the log.
        steps, minutes: the training is over at whichever comes first. The time runs from here on, less the time between a
            stop and the next start.
        seed: of torch's random numbers in each step.
    """

    def __init__(
        self, out: Path, accelerator: Accelerator, averaged: nn.Module, ema: float, checkpoint_minutes: float,
        config: Any, first_checkpoint: int = 20, log_every: int = LOG_EVERY, *, steps: int | None = None,
        minutes: float | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.out, self.accelerator, self.averaged, self.ema, self.config = out, accelerator, averaged, ema, config
        if accelerator.is_main_process:
            hold(out, "a training")
        self._log = TrainingLog(out, accelerator)
        self.step, self.seconds = 0, 0.0
        self.log_every = log_every
        self._steps, self._minutes, self._seed = steps, minutes, seed
        self._first, self._period = first_checkpoint, 60 * checkpoint_minutes
        self._ticked = self._saved = time.monotonic()
        self._sums: dict[str, tuple[Tensor | float, int]] = {}
        self._skipped = 0  # steps in a row
        accelerator.register_save_state_pre_hook(under_own_names)
        accelerator.register_load_state_pre_hook(unwrapped_by(accelerator))

    @property
    def progress(self) -> float:
        """The share of the training that is done, from 0 to 1; 0 if neither steps nor minutes end it."""
        shares = [0.0]
        if self._steps is not None:
            shares.append(self.step / self._steps)
        if self._minutes is not None:
            shares.append(self.seconds / 60 / self._minutes)
        return min(1.0, max(shares))

    @property
    def final(self) -> Path:
        """The folder for what is released."""
        return self.out / "final"

    @property
    def newest_weights(self) -> Path | None:
        """The folder of the newest averaged weights; None in all processes except the main one."""
        if not self.accelerator.is_main_process:
            return None
        return self.final if self.progress == 1 and self.final.is_dir() else self.out / "checkpoint" / "averaged"

    def steps_left(self, until: int | None = None) -> Iterator[int]:
        """Yield the number of each step until the training is over, or step ``until`` is reached."""
        while self.progress < 1 and (until is None or self.step < until):
            self._seed_step()
            yield self.step

    def batches(self, windows: Dataset[Any], size: int, end: int, workers: int = 0) -> Iterator[Any]:
        """Yield this process's batch of each step, from the next one to ``end``, on its device.

        Args:
            windows: numbered items with a method ``collate``; step s takes the items from s * size * processes on.
            size: items in a batch of one process.
            workers: processes that read them; 0 reads in this one.
        """
        together = size * self.accelerator.num_processes
        rest = Subset(windows, range(self.step * together, end * together))
        loader = DataLoader(rest, size, num_workers=workers, collate_fn=windows.collate)  # type: ignore[attr-defined]
        for batch in self.accelerator.prepare(loader):
            self._seed_step()
            yield batch

    def _seed_step(self) -> None:
        """Start torch's random numbers anew: dropout and noise must not depend on how often the training was stopped."""
        seed_torch(self._seed, self.step, self.accelerator.process_index)

    def descend(
        self, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, rates: float | Sequence[float],
        clip_norm: float,
    ) -> Tensor:  # fmt: skip
        """Take one step of the optimizer, and the averaged weights along; a gradient that is not finite is skipped.

        Args:
            rates: learning rates, one for all groups of parameters or one for each.
            clip_norm: longer gradients are shortened to this.

        Returns:
            The gradient's length.

        Raises:
            TrainingError: several steps in a row had no finite gradient.
        """
        set_rates(optimizer, rates)
        self.accelerator.backward(loss)
        if self.accelerator.unwrap_model(model) is model:  # else its wrapper shared them in the backward pass
            share_gradients(self.accelerator, model.parameters())
        norm = self.accelerator.clip_grad_norm_(model.parameters(), clip_norm)
        if self.counts(bool(torch.isfinite(norm))):
            optimizer.step()
            self.follow(model)
        elif self.accelerator.scaler is not None:
            optimizer.step()  # only makes the scale of half precision smaller
        optimizer.zero_grad()
        return norm

    def counts(self, finite: bool, allowed: int = SKIPS_ALLOWED) -> bool:
        """Return ``finite``, and stop the training after more than ``allowed`` steps in a row that were not.

        Raises:
            TrainingError: there were too many.
        """
        self._skipped = 0 if finite else self._skipped + 1
        if finite:
            return True
        step = self.step + 1
        logger.warning(f"Step {step} is skipped: its loss or its gradient is not finite.")
        if self._skipped > allowed:
            raise TrainingError(
                f"{self._skipped} steps in a row, up to step {step}, had no finite loss and gradient: the training has gone "
                f"wrong. Go back to an earlier checkpoint (the last is in {self.out}) with a lower learning rate, or with "
                f"mixed_precision=no."
            )
        return False

    def follow(self, model: nn.Module) -> None:
        """Take the averaged weights a little toward the trained ones; a young average follows quickly."""
        follow(self.averaged, self.accelerator.unwrap_model(model), self.ema, self.step)

    def tick(
        self,
        terms: Mapping[str, float | Tensor],
        everyone: Any = None,
        measure: Measure | None = None,
        **progress: Any,
    ) -> None:
        """Count a step, and log and save when it is time to. ``everyone``, ``measure`` and ``progress``: see :meth:`save`.

        Terms may stay on the device: they are only read when they are logged, as means over the steps since the last time.
        """
        self.step += 1
        for name, value in terms.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        due = self._read_clock()
        if self.step % self.log_every == 0:
            means = {name: float(total) / count for name, (total, count) in self._sums.items()}
            self._sums = {}
            self.log({"step": self.step, "seconds": round(self.seconds, 1), **means})
        if self.step == self._first or due:
            self.save(everyone, measure, **progress)

    def _read_clock(self) -> bool:
        """Add the time that has passed to ``seconds``, and return whether to save. All processes use the main one's clock."""
        now = time.monotonic()
        self.seconds, self._ticked = self.seconds + now - self._ticked, now
        due = now - self._saved > self._period
        if self.accelerator.num_processes > 1:
            read = torch.tensor([self.seconds, float(due)], dtype=torch.float64, device=self.accelerator.device)
            read = broadcast(read)
            self.seconds, due = float(read[0]), bool(read[1] > 0)
        return due

    def log(self, record: dict[str, Any]) -> None:
        """Write a line of ``log.jsonl``, whose numbers go to the experiment trackers too."""
        self._log.write(record, self.step)

    def log_picture(self, name: str, path: Path) -> None:
        """Show a picture file in tensorboard, if that is one of the trackers."""
        self._log.show(name, path, self.step)

    def save(self, everyone: Any = None, measure: Measure | None = None, **progress: Any) -> None:
        """Write the checkpoint beside the last one, and swap them: a crash at any moment leaves a complete one.

        All processes call it at the same step.

        Args:
            everyone: what :meth:`resume` shall give back as the list ``everyone``, an entry of each process.
            measure: measures the averaged weights, for the log.
            progress: what else it shall give back. JSON must be able to hold all of it.
        """
        self._saved = time.monotonic()
        progress["everyone"] = gather_object([everyone])
        if not self.accelerator.is_main_process:
            return
        if measure is not None:
            self.log({"step": self.step, "minutes": round(self.seconds / 60, 2), "validation": dict(measure())})
        current, fresh, old = self._folders()
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            facts = {"step": self.step, "seconds": self.seconds, **progress}
            write_checkpoint(fresh, self.accelerator, self.averaged, self.config, facts)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        if current.exists():
            shutil.rmtree(old, ignore_errors=True)
            current.rename(old)
        fresh.rename(current)
        shutil.rmtree(old, ignore_errors=True)

    def release(self) -> None:
        """Write the averaged weights in half precision to ``final``, if the training is over; they load as float32."""
        if self.progress == 1 and self.accelerator.is_main_process:
            write_network(copy.deepcopy(self.averaged).half(), self.final)
            follow_umask(self.final)

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Find the complete checkpoint with most steps, also one that a crash left half swapped, and its progress."""
        found = [(folder, progress) for folder in self._folders() if (progress := progress_of(folder)) is not None]
        return max(found, key=lambda pair: pair[1]["step"], default=None)

    def resume(self) -> dict[str, Any]:
        """Load the newest checkpoint, if there is one, and return what was saved with it.

        Raises:
            TrainingError: it does not fit what is trained.
        """
        found = self.newest()
        self._log.cut(found[1]["step"] if found else 0)
        if found is None:
            return {}
        checkpoint, progress = found
        try:
            self.accelerator.load_state(str(checkpoint))
            restore_average(self.averaged, checkpoint)
        except Exception as error:  # pickles, zip files and tensors each have errors of their own for what is damaged
            raise TrainingError(
                f"The checkpoint {checkpoint} is damaged or does not fit this training ({' '.join(str(error).split())[:300]}): "
                f"continue with the settings of its start (its config), or choose another folder for a new training."
            ) from error
        self.step, self.seconds = progress["step"], progress.get("seconds", 0.0)
        logger.info(f"The training continues from step {self.step}.")
        return progress

    def _folders(self) -> tuple[Path, Path, Path]:
        """Return the checkpoint, the one being written, and the last one while they are swapped."""
        return self.out / "checkpoint", self.out / "checkpoint.new", self.out / "checkpoint.old"
