"""Read an exported student."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SuperFaceError, install_command

FORMAT, VERSION = "superface-student", 1
MANIFEST, STUDENT, AUDIO_TO_LIP = "manifest.json", "student.onnx", "audio_to_lip.onnx"
LAYERS = ("picture", "colours", "alpha", "plate")
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def layer_name(name: str, file: bytes) -> str:
    """Return the name of a layer's file, from the layer's name and kind."""
    return name + next((suffix for start, suffix in _SUFFIXES.items() if file.startswith(start)), ".bin")


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

    def layers(self) -> dict[str, bytes]:
        """Return the files of the picture and its layers."""
        names = {Path(name).stem: name for name in self.about["files"] if Path(name).stem in LAYERS and "/" not in name}
        return {layer: (self.path / names[layer]).read_bytes() for layer in LAYERS}

    def graph(self, name: str) -> Graph:
        """Return one of the folder's graphs, ready to run."""
        return Graph(self.path / name)


class Graph:
    """An ONNX file that is run by onnxruntime, with one thread: several may run it at once.

    Raises:
        SuperFaceError: onnxruntime is not installed, or cannot read the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise SuperFaceError(
                f"Playing an exported student needs onnxruntime: {install_command('player')}."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common parent but this
            raise SuperFaceError(f"{path} cannot be read: {error}") from error
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph: inputs by name -> outputs by name."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
