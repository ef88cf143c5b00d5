"""Runs on a Space's shared GPU (ZeroGPU) where there is one, and unchanged elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

# How long a shared GPU is asked for; the longest clip takes less.
GPU_SECONDS = 120

try:
    GPU: Any = import_module("spaces").GPU  # before torch is imported
except (ImportError, AttributeError):
    GPU = None


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a handler that renders."""
    return function if GPU is None else GPU(duration=GPU_SECONDS)(function)


def on_shared_gpu() -> bool:
    """Whether this is a Space whose GPU is lent for single calls."""
    return GPU is not None and bool(os.environ.get("SPACES_ZERO_GPU"))
