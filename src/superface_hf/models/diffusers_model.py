"""The base class of our diffusers models: their loading leaves other threads alone, and saving tells no paths."""

from __future__ import annotations

import json
from typing import Any

from diffusers import ConfigMixin, ModelMixin


class PathlessConfig:
    """Put before a class of diffusers: its configuration's file does not say where it was loaded from, which may tell whose
    machine it was."""

    def to_json_string(self) -> str:
        config = json.loads(super().to_json_string())  # type: ignore[misc]
        config.pop("_name_or_path", None)
        return json.dumps(config, indent=2, sort_keys=True) + "\n"


class DiffusersModel(PathlessConfig, ModelMixin, ConfigMixin):
    """A diffusers model that can be loaded while other threads load and make models, as in a server."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load the model as every diffusers model; ``low_cpu_mem_usage`` holds only with a ``device_map``.

        With it, diffusers has accelerate replace ``nn.Module.register_parameter`` for the whole process, and weights that
        another thread loads meanwhile are lost on the meta device.
        """
        if kwargs.get("device_map") is None:
            kwargs["low_cpu_mem_usage"] = False
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
