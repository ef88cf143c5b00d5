"""What an export consists of, whichever model it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """One run for the check: what goes in, and what torch gives for it.

    ``run`` takes what runs the exported graph (inputs by name -> outputs by name) and returns an array like ``expected``.
    """

    run: Callable[[Callable[[Arrays], Arrays]], np.ndarray]
    expected: np.ndarray


@dataclass(frozen=True)
class Tolerance:
    """How far the exported graph may be from torch: ``worst`` anywhere, ``rms`` on average; in ``Graph.unit``."""

    worst: float
    rms: float


@dataclass(frozen=True, eq=False)
class Graph:
    """A model made ready to be exported.

    Attributes:
        module: what is traced, in evaluation mode.
        example: its arguments; dynamic sizes above one, or the tracer might take them for constants.
        inputs, outputs: name -> its dynamic dimensions and their names.
        metadata: what a runtime must know beside names and shapes; JSON.
        cases: runs for the check.
        unit: what the outputs are measured in, for the report.
        peak: largest output value, to state the difference as a PSNR; None where that says nothing.
        tolerances: precision -> how far the exported graph may be from torch.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: dict[str, dict[int, str]]
    outputs: dict[str, dict[int, str]]
    metadata: dict[str, Any]
    cases: Callable[[], Iterator[Case]]
    unit: str
    peak: float | None
    tolerances: dict[str, Tolerance]
