"""Run handlers on a Space's shared GPU (ZeroGPU) where there is one, and unchanged elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

# A shared GPU is requested for this time; the longest clip takes less.
GPU_SECONDS = 120

try:
    GPU: Any = import_module("spaces").GPU  # before torch is imported
except (ImportError, AttributeError):
    GPU = None


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler as one that renders, so that it gets the shared GPU."""
    return function if GPU is None else GPU(duration=GPU_SECONDS)(function)


def on_shared_gpu() -> bool:
    """Return whether this is a Space whose GPU is assigned to single calls."""
    return GPU is not None and bool(os.environ.get("SPACES_ZERO_GPU"))
