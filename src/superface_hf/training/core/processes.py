"""Where a training runs: one process, or several that share it, on the devices that there are."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator


def accelerator_for(mixed_precision: str = "no", **more: Any) -> Accelerator:
    """Joins the processes that ``torchrun`` or ``accelerate launch`` started, on CPUs too: without a GPU, Accelerate takes
    each process for the only one, unless it is told to use the CPU.

    Args:
        mixed_precision: "no", "bf16" or "fp16".
        more: arguments of ``Accelerator``.
    """
    on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return Accelerator(mixed_precision=mixed_precision, cpu=on_cpu, **more)
