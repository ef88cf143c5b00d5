"""Trace models into ONNX graphs with torch's exporter.

A tracer records what happens to tensors. Numbers that leave tensors (``len``, ``tolist``) become constants of the graph: the
models use ``shape[0]``. A few operations have no counterpart in ONNX; :class:`Substitutes` replaces them by equal ones. It
replaces torch's functions and not the models' layers, so the layers may change.

The exporter is the older of torch's two, which follows TorchScript: torch 2.13's newer one gave the same numbers for a student,
but took forty times as long (two minutes), needs onnxscript, and stores grids that are computed from nothing.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .graph import Graph

# GridSample samples as torch does since 16; later ones add nothing that is needed, and older runtimes lack them.
OPSET = 17


def traced(graph: Graph) -> bytes:
    """Return the graph as an ONNX file in float32."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / "graph.onnx"
        graph.module(*graph.example)  # fills caches of constants; the tracer must not be the first to ask for them
        with Substitutes(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about constants and the old exporter; the comparison with torch finds errors
            torch.onnx.export(
                graph.module,
                graph.example,
                file,
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=False,  # would store grids that are cheap to compute; runtimes fold when they load
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_axes={**graph.inputs, **graph.outputs},
            )
        return file.read_bytes()


class _Largest(NamedTuple):
    values: Tensor
    indices: None


class Substitutes(TorchFunctionMode):
    """Replaces operations that ONNX lacks, in the thread that enters this context."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.linalg.solve:
            return solve(*args)
        if func is torch.Tensor.cummax:
            return _Largest(running_maximum(*args), None)
        if func is torch.Tensor.view and isinstance(args[1], torch.dtype):
            # Stored bits are read while tracing, and their values become constants.
            return torch.from_numpy(args[0].numpy().view(torch.empty(0, dtype=args[1]).numpy().dtype))
        return func(*args, **(kwargs or {}))


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve small systems of positive definite equations by elimination, as ``torch.linalg.solve`` does: (B, n, n), (B,
    n, m) -> (B, n, m)."""
    count = matrix.shape[-1]
    rows = torch.cat((matrix, right), dim=-1)
    unit = torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    for i in range(count):
        pivot = rows[:, i : i + 1] / rows[:, i : i + 1, i : i + 1]
        rows = rows - (rows[:, :, i : i + 1] - unit[:, i : i + 1]) * pivot
    return rows[..., count:]


def running_maximum(x: Tensor, dim: int) -> Tensor:
    """Return the running maximum of a short (B, N), as ``x.cummax(1).values`` does.

    Raises:
        NotImplementedError: ``x`` has another shape; extend this function if a model needs it.
    """
    if x.ndim != 2 or dim != 1:
        raise NotImplementedError(f"cummax along {dim} of {tuple(x.shape)}")
    later = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
    return (x[:, None] + later).amax(-1)
