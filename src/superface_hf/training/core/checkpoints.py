"""Checkpoints on disk: complete or absent, and readable by any number of processes."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn

from ...hub.quiet import quiet_loading
from ...utils.files import follow_umask, write_tensors
from ...utils.settings import as_dict, as_yaml

WEIGHTS_FILE = "model.safetensors"


@runtime_checkable
class Pretrained(Protocol):
    """A network with a configuration of its own, of transformers or diffusers."""

    def save_pretrained(self, folder: Path) -> Any: ...

    @classmethod
    def from_pretrained(cls, folder: Path, **options: Any) -> Any: ...


def write_checkpoint(
    folder: Path, accelerator: Accelerator, averaged: nn.Module, config: Any, progress: dict[str, Any]
) -> None:
    """Write a checkpoint into a new folder.

    Args:
        averaged: the averaged weights; they go to the folder ``averaged`` in it.
        config: the training's settings, a dataclass.
        progress: what :func:`progress_of` gives back.
    """
    accelerator.save_state(str(folder))
    write_network(averaged, folder / "averaged")
    (folder / "config.yaml").write_text(as_yaml(config))
    follow_umask(folder)
    _flush(folder)
    # Written last: where this file is complete, the checkpoint is.
    (folder / "progress.json").write_text(json.dumps({**progress, "config": as_dict(config)}))
    _flush(folder)


def progress_of(checkpoint: Path) -> dict[str, Any] | None:
    """Read the progress of a checkpoint; None if the checkpoint is incomplete."""
    try:
        progress = json.loads((checkpoint / "progress.json").read_text())
    except (OSError, ValueError):
        return None
    return progress if isinstance(progress, dict) and isinstance(progress.get("step"), int) else None


def write_network(network: nn.Module, folder: Path) -> None:
    """Write a network's weights, with its configuration if it has one."""
    if isinstance(network, Pretrained):
        with quiet_loading():
            network.save_pretrained(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS_FILE, {name: value.contiguous() for name, value in network.state_dict().items()})


def restore_average(averaged: nn.Module, checkpoint: Path) -> None:
    """Read the averaged weights of a checkpoint.

    Raises:
        Exception: of many kinds, where they are damaged or of another network.
    """
    folder = checkpoint / "averaged"
    if not isinstance(averaged, Pretrained):
        averaged.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return
    with quiet_loading():
        stored = type(averaged).from_pretrained(folder, dtype=torch.float32)
    averaged.load_state_dict(stored.state_dict())


def _flush(folder: Path) -> None:
    """Write all files of a folder to the disk before their names change."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def under_own_names(models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
    """Save weights under their own names: a checkpoint of several processes can be resumed by one, and the other way."""
    for index, state in enumerate(weights):
        weights[index] = OrderedDict((name.removeprefix("module."), value) for name, value in state.items())


def unwrapped_by(accelerator: Accelerator) -> Callable[[list[nn.Module], str], None]:
    """Make a hook that loads weights into the networks themselves, not into what wraps them for several processes."""

    def hook(models: list[nn.Module], folder: str) -> None:
        models[:] = [accelerator.unwrap_model(model) for model in models]

    return hook
