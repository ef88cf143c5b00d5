"""Averaged weights: an exponential moving average of a network follows its training, and is what is released."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def averaged_copy(network: Network, device: torch.device) -> Network:
    """Return the average with which a training starts: a copy of the network, on a device, in eval mode, without gradients."""
    return copy.deepcopy(network).to(device).eval().requires_grad_(False)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Take ``average`` a step toward ``network``, statistics of batch norms included.

    Args:
        decay: how much of the average stays, once it is no longer young. A young one follows quickly, or it would keep the
            untrained start for long.
        step: steps before this one.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mine, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new.to(mine), 1 - decay)
        else:
            mine.copy_(new)
