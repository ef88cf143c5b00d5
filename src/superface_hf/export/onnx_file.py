"""Write models as ONNX files, after comparing each graph with torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from ..errors import SuperFaceError, install_command
from ..utils.files import part_of
from .graph import Arrays, Graph
from .precision import PRECISIONS, Precision, store_weights

LICENSE = "Apache-2.0"
METADATA_KEY = "superface"
INSTALL = install_command("export")


@dataclass(frozen=True)
class ExportReport:
    """A written ONNX file, and how far its results differ from torch's.

    Attributes:
        path: the ONNX file; its description is beside it as JSON.
        size: bytes of the ONNX file.
        unit: the unit of the differences.
        worst, rms: largest and root-mean-square difference to torch in ``unit``; None where onnxruntime is not installed.
        psnr: the peak signal-to-noise ratio in dB, for pictures; infinite where nothing differs.
    """

    path: Path
    size: int
    unit: str
    worst: float | None
    rms: float | None
    psnr: float | None

    def __str__(self) -> str:
        written = f"{self.path}: {self.size / 1e6:.2f} MB"
        if self.worst is None:
            return f"{written}, not compared with torch, as onnxruntime is not installed ({INSTALL})."
        psnr = "" if self.psnr is None else f", PSNR {self.psnr:.1f} dB"
        return f"{written}; differs from torch by at most {self.worst:.2g} {self.unit}{psnr}."


def export_onnx(
    model: PreTrainedModel,
    path: str | os.PathLike[str],
    precision: Precision = "fp32",
) -> ExportReport:
    """Write a student or an audio-to-lip model as an ONNX file, with a JSON file beside it that describes inputs and outputs.

    Before anything is written, onnxruntime (if installed) runs the graph over bundled motions or speech in batches of several
    sizes, and the results are compared with torch's.

    Args:
        model: in float32, on the CPU.
        path: ends with ``.onnx``; an existing file is replaced.
        precision: how weights are stored; the graph computes in float32.

    Raises:
        SuperFaceError: the model is of another kind, the path does not end with ``.onnx``, onnx is not installed, or
        the graph's
            results differ from torch's by more than is allowed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise SuperFaceError(f"{path} must end with .onnx.")
    if not path.parent.is_dir():
        raise SuperFaceError(f"There is no folder {path.parent} to write {path.name} to: make it first.")
    if precision not in PRECISIONS:
        raise SuperFaceError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}.")
    graph = graph_of(model)
    metadata = {**_about(model, precision), **graph.metadata}
    content, difference = checked_content(graph, precision, metadata)
    _write(path, content)
    _write(path.with_suffix(".json"), (json.dumps(metadata, indent=1) + "\n").encode())
    worst, rms = difference or (None, None)
    psnr = None
    if rms is not None and graph.peak is not None:
        psnr = float(20 * np.log10(graph.peak / rms)) if rms else float("inf")
    return ExportReport(path, len(content), graph.unit, worst, rms, psnr)


def checked_content(
    graph: Graph, precision: Precision, metadata: dict[str, Any]
) -> tuple[bytes, tuple[float, float] | None]:
    """Return a graph as an ONNX file, and its largest and mean difference to torch (None where onnxruntime is not installed).

    Raises:
        SuperFaceError: onnx is missing, or the graph does not give what torch gives.
    """
    content = _content(graph, precision, metadata)
    return content, _checked(content, graph, precision)


def graph_of(model: PreTrainedModel) -> Graph:
    """Return the graph of a student or an audio-to-lip model.

    Raises:
        SuperFaceError: the model is of another kind, or cannot be exported.
    """
    from ..models.audio_to_lip import SuperFaceAudioToLipModel
    from ..models.student.modeling_student import SuperFaceStudentModel
    from .audio_to_lip import audio_to_lip_graph
    from .student import student_graph

    if isinstance(model, SuperFaceStudentModel):
        return student_graph(model)
    if isinstance(model, SuperFaceAudioToLipModel):
        return audio_to_lip_graph(model)
    raise SuperFaceError(
        f"A {type(model).__name__} cannot be exported: only students (make one with `superface distill`) and audio-to-lip "
        "models."
    )


def run_with_onnxruntime(content: bytes, threads: int | None = None) -> Callable[[Arrays], Arrays]:
    """Return a function that runs an ONNX file on the CPU: inputs by name -> outputs by name.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _about(model: PreTrainedModel, precision: str) -> dict[str, Any]:
    from ..version import __version__

    return {
        "model_type": model.config.model_type,
        "made_by": f"superface-hf {__version__}",
        "license": LICENSE,
        "precision": precision,
    }


def _content(graph: Graph, precision: Precision, metadata: dict[str, Any]) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise SuperFaceError(f"Exporting needs the package onnx: {INSTALL}.") from error
    from .tracing import traced

    file = onnx.load_model_from_string(traced(graph))
    store_weights(file, {name for name, _ in graph.module.named_parameters()}, precision)
    # All metadata, and the fields that other programs show.
    onnx.helper.set_model_props(file, {METADATA_KEY: json.dumps(metadata), "license": metadata["license"]})
    file.producer_name, _, file.producer_version = metadata["made_by"].partition(" ")
    onnx.checker.check_model(file)
    return file.SerializeToString()


def _checked(content: bytes, graph: Graph, precision: str) -> tuple[float, float] | None:
    """Compare the graph with torch and return the largest and the root-mean-square difference; None without onnxruntime."""
    try:
        run = run_with_onnxruntime(content, threads=1)  # more are slower on a busy machine
    except ImportError:
        return None
    differences = [np.abs(case.run(run) - case.expected) for case in graph.cases()]
    worst = max(float(difference.max()) for difference in differences)
    rms = max(float(np.sqrt(np.square(difference, dtype=np.float64).mean())) for difference in differences)
    allowed = graph.tolerances[precision]
    if not (worst <= allowed.worst and rms <= allowed.rms):
        raise SuperFaceError(
            f"The exported graph does not give what torch gives: it differs by up to {worst:.3g} {graph.unit} ({rms:.3g} on "
            f"average; {allowed.worst:g} and {allowed.rms:g} are allowed in {precision}). Nothing was written. "
            + ("Please report it." if precision == "fp32" else "Export it in fp32.")
        )
    return worst, rms


def _write(path: Path, content: bytes) -> None:
    """Write a file completely, or raise an error and leave no part of it."""
    temporary = part_of(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise SuperFaceError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
