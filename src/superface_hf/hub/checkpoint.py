"""Check a checkpoint before it is loaded, because it may come from an untrusted source.

transformers fills missing weights at random and casts any number to any type. So the weights that a model needs are compared
with the headers of the files first; a refusal costs neither memory nor time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from ..errors import HubError
from .failures import BadConfiguration

Source = str | os.PathLike[str]

LARGEST_JSON = 2**20  # bytes of a configuration or of an index of weights
MOST_FILES = 1000
FLOATS = ("F64", "F32", "F16", "BF16")
# safetensors' names of the other types of our buffers.
WHOLE_NUMBERS = {torch.uint8: ("U8",), torch.int32: ("I32",), torch.int64: ("I64",)}


def read_config(source: Source, where: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint's ``config.json``, without checking its values.

    Raises:
        HubError: the checkpoint has no ``config.json``.
        BadConfiguration: the file is no configuration.
        OSError: the file cannot be fetched.
    """
    try:
        path = _fetched(source, CONFIG_NAME, where)
    except OSError as error:
        if "does not appear to have" not in str(error):
            raise
        raise HubError(f"{source} holds no {CONFIG_NAME}: it is no checkpoint of this package.") from error
    config = _read_json(path)
    if "configuration_files" in config:  # transformers would read another file instead
        raise BadConfiguration("it names other files (configuration_files)")
    return config


def weight_files(source: Source, where: Mapping[str, Any]) -> list[Path]:
    """Fetch the files of a checkpoint's weights and return their paths.

    Weights must be safetensors: for a pickle, transformers would ask an external service to convert it, and send that
    service the user's token.

    Raises:
        HubError: the index of the weights is unusable.
        OSError: they cannot be fetched.
    """
    try:
        return [_fetched(source, SAFE_WEIGHTS_NAME, where)]
    except OSError as error:
        if "does not appear to have" not in str(error):
            raise
        try:
            index = _fetched(source, SAFE_WEIGHTS_INDEX_NAME, where)
        except OSError:
            raise error from None
    try:
        names = set(_read_json(index)["weight_map"].values())
    except (BadConfiguration, AttributeError, KeyError, TypeError):
        names = set()
    if not names or len(names) > MOST_FILES or any(not isinstance(name, str) or os.sep in name for name in names):
        raise HubError(f"{source}: {SAFE_WEIGHTS_INDEX_NAME} does not say which files hold the weights: copy it again.")
    return [_fetched(source, name, where) for name in sorted(names)]


def check_headers(model: nn.Module, files: list[Path], source: Source) -> None:
    """Compare the weights that a model needs with those in the files, without reading any weight.

    Args:
        model: the model of the configuration, on torch's device "meta".

    Raises:
        HubError: a weight is missing, or of another shape or type.
        SafetensorError: a file is damaged.
    """
    stored: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in files:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                weight = file.get_slice(name)
                stored[name] = (tuple(weight.get_shape()), str(weight.get_dtype()))
    needed = model.state_dict()
    missing = [name for name in needed if name not in stored]
    if missing:
        raise HubError(
            f"{source} holds not all of its model's weights: {len(missing)} of {len(needed)} are missing (the first is "
            f"{missing[0]}). Copy or push it again."
        )
    for name, tensor in needed.items():
        shape, kind = stored[name]
        if shape != tuple(tensor.shape):
            raise HubError(
                f"{source}: its config.json does not fit its weights: {name} has the shape {list(shape)}, and should have "
                f"{list(tensor.shape)}. Copy or push both again."
            )
        wanted = FLOATS if tensor.is_floating_point() else WHOLE_NUMBERS.get(tensor.dtype, ())
        if kind not in wanted:
            raise HubError(
                f"{source}: the weight {name} is of the type {kind}; it must be one of {', '.join(wanted)}. "
                "Save the model again in float32."
            )


@torch.no_grad()
def check_finite(model: nn.Module, source: Source) -> None:
    """Check that all weights are finite.

    Raises:
        HubError: a weight is NaN or infinite, so that the output would be meaningless.
    """
    for name, tensor in model.state_dict().items():
        # The sum of a tensor is finite only if all of its values are.
        if tensor.is_floating_point() and not math.isfinite(float(tensor.sum(dtype=torch.float64))):
            raise HubError(
                f"{source} holds weights that are not finite numbers ({name}): it was not trained or copied well."
            )


def _fetched(source: Source, name: str, where: Mapping[str, Any]) -> Path:
    path = cached_file(source, name, **where)
    if path is None:  # transformers returns None for a folder without config.json, and raises for other files
        raise HubError(f"{source} holds no checkpoint of this package: it has no {name}.")
    return Path(path)


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_JSON:
        raise BadConfiguration(f"it has {path.stat().st_size / 2**20:.0f} MB, and at most 1 is read")
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise BadConfiguration(f"it is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadConfiguration("it holds no settings")
    return content
