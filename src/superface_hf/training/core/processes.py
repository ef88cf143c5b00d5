"""The processes and devices that share a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn


def accelerator_for(mixed_precision: str = "no", **more: Any) -> Accelerator:
    """Join the processes that ``torchrun`` or ``accelerate launch`` started.

    Without a GPU, Accelerate treats each process as the only one unless ``cpu`` is set.

    Args:
        mixed_precision: "no", "bf16" or "fp16".
        more: arguments of ``Accelerator``.
    """
    on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return Accelerator(mixed_precision=mixed_precision, cpu=on_cpu, **more)


def share_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Make gradients the mean over all processes, for networks that are not wrapped: whose parts are called one by one.

    All processes must have gradients for the same parameters.
    """
    if accelerator.num_processes == 1:
        return
    learnt = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in learnt if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for parameter, part in zip(learnt, flat.split([p.numel() for p in learnt]), strict=True):
        parameter.grad = part.view_as(parameter)
