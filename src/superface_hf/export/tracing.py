"""Lets torch's exporter see through the models' code.

A tracer records what happens to tensors. Numbers that leave tensors (``len``, ``tolist``) become constants of the graph, and a
few operations have no counterpart in ONNX. While :func:`traceable` lasts, those are done in another way that comes to the same.
It stands in for what the models call, not for the models, so that their layers may change.

The exporter is the older of torch's two, which follows TorchScript: torch 2.13's newer one gave the same numbers for a student,
but took forty times as long (two minutes), needs onnxscript, and stores grids that are computed from nothing.
"""

from __future__ import annotations

import builtins
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..models.student.seam_windows import SeamWindow
from .graph import Graph

# GridSample samples as torch does since 16; later ones add nothing that is needed, and older runtimes lack them.
OPSET = 17
_PACKAGE = __name__.rpartition(".export.")[0]
_TRACED = tuple(f"{_PACKAGE}.{part}" for part in ("models.student", "models.audio_to_lip", "face_model", "layers"))


def traced(graph: Graph) -> bytes:
    """The graph as an ONNX file in float32."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / "graph.onnx"
        graph.module(*graph.example)  # fills caches of constants; the tracer must not be the first to ask for them
        with traceable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constants and of the exporter's age; the check will tell
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


@contextmanager
def traceable() -> Iterator[None]:
    """While it lasts, the models' code can be traced for any batch. Not for several threads at once."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(_TRACED)]
    own = {name: getattr(SeamWindow, name) for name in ("cut", "put")}
    try:
        for module in modules:
            vars(module)["len"] = _length
        for name, method in (("cut", _cut), ("put", _put)):
            setattr(SeamWindow, name, method)
        with _Substitutes():
            yield
    finally:
        for name, method in own.items():
            setattr(SeamWindow, name, method)
        for module in modules:
            vars(module).pop("len", None)


def _length(thing: Any) -> Any:
    return thing.shape[0] if isinstance(thing, Tensor) else builtins.len(thing)


class _Largest(NamedTuple):
    values: Tensor
    indices: None


class _Substitutes(TorchFunctionMode):
    """Stands in for operations that ONNX lacks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.linalg.solve:
            return solve(*args)
        if func is torch.Tensor.cummax:
            return _Largest(running_maximum(*args), None)
        if func is torch.Tensor.view and isinstance(args[1], torch.dtype):
            # Stored bits are read while tracing: what they say is a constant.
            return torch.from_numpy(args[0].numpy().view(torch.empty(0, dtype=args[1]).numpy().dtype))
        return func(*args, **(kwargs or {}))


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """``torch.linalg.solve`` of few positive definite equations: (B, n, n), (B, n, m) -> (B, n, m), by elimination."""
    count = matrix.shape[-1]
    rows = torch.cat((matrix, right), dim=-1)
    unit = torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    for i in range(count):
        pivot = rows[:, i : i + 1] / rows[:, i : i + 1, i : i + 1]
        rows = rows - (rows[:, :, i : i + 1] - unit[:, i : i + 1]) * pivot
    return rows[..., count:]


def running_maximum(x: Tensor, dim: int) -> Tensor:
    """``x.cummax(1).values`` of a short (B, N).

    Raises:
        NotImplementedError: for other shapes; extend it when a model asks.
    """
    if x.ndim != 2 or dim != 1:
        raise NotImplementedError(f"cummax along {dim} of {tuple(x.shape)}")
    later = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
    return (x[:, None] + later).amax(-1)


def _cut(window: SeamWindow, maps: Tensor, scale: int = 1) -> Tensor:
    """``SeamWindow.cut`` with the corners in the graph."""
    cells, height, width = _cells(window, maps, scale)
    return maps.flatten(2).gather(2, cells).reshape(maps.shape[0], maps.shape[1], height, width)


def _put(window: SeamWindow, maps: Tensor, part: Tensor, scale: int = 1) -> None:
    """``SeamWindow.put`` with the corners in the graph."""
    cells, _, _ = _cells(window, maps, scale)
    maps.copy_(maps.flatten(2).scatter(2, cells, part.flatten(2)).reshape(maps.shape))


def _cells(window: SeamWindow, maps: Tensor, scale: int) -> tuple[Tensor, int, int]:
    """Where the window's cells lie in a flattened map, (B, C, h w); and h and w."""
    height, width = (side * scale for side in window.drawn.shape[2:])
    size = maps.shape[-1]
    # The grid's first cell is the corner.
    corner = ((window.grid[:, 0, 0] + 1) * (size // scale) / 2 - 0.5).round().long() * scale
    rows, columns = corner[:, 1:] + torch.arange(height), corner[:, :1] + torch.arange(width)
    cells = (rows[:, :, None] * size + columns[:, None]).flatten(1)
    return cells[:, None].expand(-1, maps.shape[1], -1), height, width
