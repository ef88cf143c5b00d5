"""Read an exported student."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SuperFaceError, install_command
from ..layers.portrait import PortraitLayers
from ..models.student.stored_layers import LayerFiles

Graph = Callable[..., dict[str, np.ndarray]]  # inputs by name -> outputs by name
FORMAT, VERSION = "superface-student", 1
MANIFEST, STUDENT, AUDIO_TO_LIP = "manifest.json", "student.onnx", "audio_to_lip.onnx"


@dataclass(frozen=True)
class RuntimeFolder:
    """An exported student: its folder, and what its manifest says."""

    path: Path
    about: dict[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RuntimeFolder:
        """Open an exported student.

        Raises:
            SuperFaceError: the folder is none that ``superface export --runtime`` wrote, or incomplete.
        """
        path = Path(path)
        try:
            about = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            kind = (about["format"], about["version"])
            missing = [name for name, said in about["files"].items() if not _has(path / name, said["bytes"])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SuperFaceError(
                f"{path} is no exported student ({error}): make one with `superface export student --runtime onnx -o {path}`."
            ) from error
        if kind != (FORMAT, VERSION):
            raise SuperFaceError(f"{path} holds {kind[0]} of version {kind[1]}; this player knows version {VERSION}.")
        if missing:
            raise SuperFaceError(f"{path} is incomplete ({', '.join(missing)}): export or copy it again.")
        return cls(path, about)

    def layers(self) -> PortraitLayers:
        """The layers of the portrait.

        Raises:
            HubError: they cannot be read.
        """
        names = {Path(name).stem: name for name in self.about["files"] if "/" not in name}
        return LayerFiles(*((self.path / names[layer]).read_bytes() for layer in LayerFiles._fields)).decoded()

    def graph(self, name: str) -> Graph:
        """Load one of the folder's graphs, which runs on one thread: several threads may run it at once.

        Raises:
            SuperFaceError: onnxruntime is not installed, or cannot read the file.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise SuperFaceError(
                f"Playing an exported student needs onnxruntime: {install_command('player')}."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(self.path / name, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common parent but this
            raise SuperFaceError(f"{self.path / name} cannot be read: {error}") from error
        names = [output.name for output in session.get_outputs()]
        return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
