"""Read and write the file of a motion: safetensors arrays, with format, version and frame rate as metadata."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import MediaError, MotionError
from ..utils.files import expanded, part_of

FORMAT = "superface-motion"
FORMAT_VERSION = "1"
# safetensors' names of the types that arrays may be stored as, and the most coefficients of a region.
READ_TYPES, MAX_COEFFICIENTS = ("F32", "F64", "F16"), 1024


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], fps: float) -> None:
    """Write a motion's arrays atomically.

    Raises:
        MediaError: the file cannot be written.
    """
    target = expanded(path)
    temporary = part_of(target)
    metadata = {"format": FORMAT, "version": FORMAT_VERSION, "fps": repr(fps)}
    try:
        temporary.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata))
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        raise MediaError(f"Cannot write the motion to {target}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_arrays(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[dict[str, np.ndarray], float]:
    """Read a motion's arrays by their names, and its frame rate.

    Raises:
        MediaError: the file is missing, or is no safetensors file.
        MotionError: the file holds no motion.
    """
    try:
        with safe_open(Path(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != FORMAT_VERSION:
                raise MotionError(f"{path} holds no motion of version {FORMAT_VERSION}: write one with Motion.save.")
            return {name: _read(file, name) for name in names}, float(metadata["fps"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise MediaError(f"Cannot read a motion from {path}: {error}") from error


def _read(file: Any, name: str) -> np.ndarray:
    """Read one array of a motion's file.

    Raises:
        MotionError: the array is of a type that numpy does not know, such as bf16, or unreasonably large.
    """
    entry = file.get_slice(name)
    kind, shape = str(entry.get_dtype()), entry.get_shape()
    if kind not in READ_TYPES:
        raise MotionError(f"Motion.{name} is stored as {kind}; it must be one of {', '.join(READ_TYPES)}.")
    if len(shape) > 2 or (len(shape) == 2 and shape[1] > MAX_COEFFICIENTS):
        raise MotionError(f"Motion.{name} is stored with the shape {shape}, which no motion has.")
    return file.get_tensor(name)
