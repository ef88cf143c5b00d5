"""The memory layout of networks."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def channels_last(module: ModuleT) -> ModuleT:
    """Give a network the memory layout in which convolutions are several times faster on the CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
