"""Write a student as a folder that runs without torch."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ...animation.portrait import stored_portrait
from ...drivers.idle import IdleMotion
from ...errors import SuperFaceError
from ...face_model.linear import FaceModel
from ...models.audio_to_lip import SuperFaceAudioToLipModel
from ...models.student.modeling_student import SuperFaceStudentModel
from ...models.student.stored_layers import LayerFiles
from ...motion.rows import motion_rows, row_layout
from ...player.folder import AUDIO_TO_LIP, MANIFEST, STUDENT
from ..audio_to_lip import audio_to_lip_graph
from ..graph import Arrays, Case, Graph, Tolerance
from ..onnx_file import checked_content
from ..precision import PRECISIONS, Precision
from .manifest import described, manifest
from .student_graph import OUTPUTS, StudentRuntimeGraph

RUNTIMES = ("onnx", "web")
CHECKED_FRAMES, BATCHES = 9, (1, 4)
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


@dataclass(frozen=True)
class FolderReport:
    """What was written.

    Attributes:
        path: the folder.
        size: of all its files, in bytes.
        worst: the largest difference of the student's graph to torch, in levels of 255 and pixels; None where onnxruntime is
            not installed.
    """

    path: Path
    size: int
    worst: float | None

    def __str__(self) -> str:
        written = f"{self.path}: {self.size / 1e6:.2f} MB"
        if self.worst is None:
            return f"{written}, not compared with torch, as onnxruntime is not installed."
        return f"{written}; its graph differs from torch by at most {self.worst:.2g} levels of 255 or pixels."


def export_folder(
    student: PreTrainedModel,
    audio_to_lip: PreTrainedModel,
    path: str | os.PathLike[str],
    runtime: str = "onnx",
    precision: Precision = "fp32",
) -> FolderReport:
    """Write a student, the model that hears for it, and its layers.

    Args:
        student, audio_to_lip: a ``SuperFaceStudentModel`` and a ``SuperFaceAudioToLipModel`` in float32, on the CPU.
        path: the folder; it must not be there yet, be empty, or be one that was written by this before, which is replaced.
        runtime: "onnx" for :class:`superface_hf.player.StudentPlayer`, "web" for browsers.
        precision: how weights are stored.

    Raises:
        SuperFaceError: the student stores no portrait; audio-to-lip hears through another model; the folder holds something
            else or cannot be written; onnx is missing; or a graph does not give what torch gives.
    """
    if runtime not in RUNTIMES:
        raise SuperFaceError(f"runtime must be one of {', '.join(RUNTIMES)}, not {runtime!r}.")
    if precision not in PRECISIONS:
        raise SuperFaceError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}.")
    if not isinstance(student, SuperFaceStudentModel) or not isinstance(audio_to_lip, SuperFaceAudioToLipModel):
        raise SuperFaceError(
            f"A runtime folder holds a student and an audio-to-lip model, not a {type(student).__name__} and a "
            f"{type(audio_to_lip).__name__}."
        )
    path = Path(path)
    _check_free(path)
    files = student.layer_files()
    layout = row_layout()
    hears, sees = audio_to_lip_graph(audio_to_lip), _graph(student, layout)
    about = manifest(student, runtime, layout, hears.metadata, precision)
    told = {"made_by": about["made_by"], "license": about["license"]}
    heard, _ = checked_content(hears, precision, {**told, **hears.metadata})
    drawn, difference = checked_content(sees, precision, {**told, "meaning": about["outputs"]})
    contents = {AUDIO_TO_LIP: heard, STUDENT: drawn}
    contents |= {_layer_name(name, file): file for name, file in zip(LayerFiles._fields, files, strict=True)}
    with _replacing(path) as temporary:
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        if runtime == "web":
            from ..web import add_web_files

            add_web_files(temporary, about)
        written = sorted(file for file in temporary.rglob("*") if file.is_file())
        about["files"] = {file.relative_to(temporary).as_posix(): described(file) for file in written}
        (temporary / MANIFEST).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return FolderReport(path, size, None if difference is None else difference[0])


def _graph(student: SuperFaceStudentModel, layout: dict[str, tuple[int, int]]) -> Graph:
    portrait = stored_portrait(student, FaceModel.default())
    module = StudentRuntimeGraph(student, portrait, FaceModel.default()).eval()
    rows = _some_rows(layout)
    return Graph(
        module=module,
        example=(torch.from_numpy(rows[:2]),),
        inputs={"motion": {0: "batch"}},
        outputs={name: {0: "batch"} for name in OUTPUTS},
        metadata={},
        cases=lambda: (_case(module, rows, batch) for batch in BATCHES),
        unit="levels of 255 or pixels",
        peak=None,
        # A cell on the very border of an opening may differ.
        tolerances={"fp32": Tolerance(6.0, 0.1), "fp16": Tolerance(255.0, 1.0), "int8": Tolerance(255.0, 4.0)},
    )


def _some_rows(layout: dict[str, tuple[int, int]]) -> np.ndarray:
    """(CHECKED_FRAMES, K): a head that sways, nods and blinks, and mouths of all kinds."""
    random = np.random.default_rng(0)
    motion = IdleMotion(strength=2.0).motion(40 * CHECKED_FRAMES, 25.0)[::40]
    rows = motion_rows(motion)
    first, last = layout["mouth"]
    rows[:, first:last] = random.normal(0, 1, (len(rows), last - first))
    return rows


@torch.inference_mode()
def _case(module: StudentRuntimeGraph, rows: np.ndarray, batch: int) -> Case:
    parts = [slice(start, start + batch) for start in range(0, len(rows), batch)]

    def run(graph: Any) -> np.ndarray:
        return np.concatenate([_levels(graph({"motion": rows[part]})) for part in parts])

    named = [
        dict(zip(OUTPUTS, (each.numpy() for each in module(torch.from_numpy(rows[part]))), strict=True))
        for part in parts
    ]
    return Case(run, np.concatenate([_levels(outputs) for outputs in named]))


def _levels(outputs: Arrays) -> np.ndarray:
    """All outputs of B frames beside each other, colours in levels: (B, N)."""
    units = {name: 255.0 if name.endswith(("paint", "matte", "landmarks")) else 1.0 for name in OUTPUTS}
    return np.concatenate([(units[name] * outputs[name]).reshape(len(outputs[name]), -1) for name in OUTPUTS], axis=1)


def _layer_name(name: str, file: bytes) -> str:
    """What a layer's file is called: by its name and kind."""
    return name + next((suffix for start, suffix in SUFFIXES.items() if file.startswith(start)), ".bin")


def _check_free(path: Path) -> None:
    """Check that a folder may be written.

    Raises:
        SuperFaceError: something else is there.
    """
    if path.exists() and not path.is_dir():
        raise SuperFaceError(f"{path} is a file: name a folder.")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise SuperFaceError(f"The folder {path} holds other things: name a new one, or empty it.")


class _replacing:
    """A new folder beside ``path``, which takes its place if all goes well, and is removed otherwise."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(dir=self._path.parent, prefix=f".{self._path.name}."))
            self._temporary.chmod(0o755)
        except OSError as error:
            raise SuperFaceError(f"{self._path} cannot be written: {error.strerror or error}.") from error
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                shutil.rmtree(self._path, ignore_errors=True)
                self._temporary.replace(self._path)
        except OSError as failure:
            raise SuperFaceError(f"{self._path} cannot be written: {failure.strerror or failure}.") from failure
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise SuperFaceError(f"{self._path} cannot be written: {error.strerror or error}.") from error
