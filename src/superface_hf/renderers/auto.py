"""Which models can be the pipeline's: those that prepare a portrait and render it."""

from __future__ import annotations

import os
from typing import Any

from transformers import MODEL_MAPPING, AutoConfig, AutoModel

from ..errors import HubError
from ..hub import loading
from ..hub.checkpoint import read_config

_WHERE = ("cache_dir", "code_revision", "force_download", "local_files_only", "revision", "token", "trust_remote_code")
_OF_CODE = ("code_revision", "trust_remote_code")


def check_renderer(model: Any, model_type: str, source: str | os.PathLike[str]) -> None:
    """
    Args:
        model: a model or the class of one.
        model_type: what its configuration calls it.
        source: where it is from, for the message.

    Raises:
        HubError: it renders nothing.
    """
    if hasattr(model, "prepare") and hasattr(model, "render"):
        return
    hint = "; pass it as audio_to_lip= instead" if model_type == "superface_audio_to_lip" else ""
    raise HubError(
        f"{source} holds a model of type {model_type!r}, and the talking-face pipeline needs one that renders faces, such as "
        f"'superface_teacher'{hint}."
    )


class AutoRenderer(AutoModel):
    """As ``AutoModel``, but it refuses what cannot render by its configuration, before any weights are downloaded."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        source = pretrained_model_name_or_path
        with loading(source, kwargs.get("revision")):
            read_config(source, {key: kwargs[key] for key in _WHERE if key in kwargs and key not in _OF_CODE})
            config = AutoConfig.from_pretrained(source, **{key: kwargs[key] for key in _WHERE if key in kwargs})
            if type(config) in MODEL_MAPPING:  # what is not there may bring code of its own
                check_renderer(MODEL_MAPPING[type(config)], config.model_type, source)
            return super().from_pretrained(source, *model_args, **kwargs)
