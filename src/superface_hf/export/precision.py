"""Weights in fewer bits. Computing stays in float32.

Both narrow forms are undone at the top of the graph by operations on constants, which runtimes do once, when they load a file:
it becomes smaller, not slower. Computing in fewer bits gained nothing: with onnxruntime on a CPU, one thread took 37 ms for a
student's frame in float32, 39 in float16, 38 with its convolutions in statically and 44 in dynamically quantised int8, for they
are a thirtieth of its time. And coordinates need all of float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import onnx

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MIN_VALUES = 256  # smaller weights (biases, norms) stay in float32: storing them in fewer bits saves little


def store_weights(model: onnx.ModelProto, names: set[str], precision: Precision) -> None:
    """Store the matrices and kernels among ``names`` in fewer bits, in place."""
    from onnx import TensorProto, helper, numpy_helper

    if precision == "fp32":
        return
    undo = []
    for tensor in list(model.graph.initializer):
        if tensor.name not in names or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        weight = numpy_helper.to_array(tensor)
        if weight.size < MIN_VALUES:
            continue
        name = tensor.name
        narrow, scale = (weight.astype(np.float16), None) if precision == "fp16" else rounded(weight)
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}.{precision}"))
        wide = name if scale is None else f"{name}.wide"
        undo.append(helper.make_node("Cast", [tensor.name], [wide], to=TensorProto.FLOAT))
        if scale is not None:
            model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            undo.append(helper.make_node("Mul", [wide, f"{name}.scale"], [name]))
    nodes = [*undo, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight (outputs, ...) as int8 and a scale for each output (outputs, 1, ...)."""
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    scale = np.maximum(largest, np.finfo(np.float32).tiny * 127) / np.float32(127)
    return np.round(weight / scale).astype(np.int8), scale.astype(np.float32)
