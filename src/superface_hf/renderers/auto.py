"""Find the renderer for a model: by the type of its configuration, or because it implements the protocol itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import MODEL_MAPPING, AutoConfig, AutoModel

from ..errors import HubError
from ..hub import loading
from ..hub.checkpoint import read_config
from .base import Renderer
from .student import StudentRenderer
from .teacher import TeacherRenderer

RENDERERS: dict[str, Callable[[Any], Renderer]] = {
    "superface_teacher": partial(TeacherRenderer, consecutive=True),
    "superface_student": StudentRenderer,
}

_WHERE = ("cache_dir", "code_revision", "force_download", "local_files_only", "revision", "token", "trust_remote_code")
_CODE_OPTIONS = ("code_revision", "trust_remote_code")


def renderer_of(model: Any) -> Renderer:
    """Return the renderer for a model.

    Args:
        model: a teacher or student, or a :class:`~superface_hf.renderers.base.Renderer` itself.

    Raises:
        HubError: the model cannot render.
    """
    if isinstance(model, Renderer):
        return model
    kind = model.config.model_type
    if kind not in RENDERERS:
        raise HubError(_refusal(model.name_or_path or "model", kind))
    return RENDERERS[kind](model)


def _refusal(source: str | os.PathLike[str], kind: str) -> str:
    hint = "; pass it as audio_to_lip= instead" if kind == "superface_audio_to_lip" else ""
    return (
        f"{source} holds a model of type {kind!r}, and the talking-face pipeline needs one that renders faces, such as "
        f"'superface_teacher'{hint}."
    )


class AutoRenderer(AutoModel):
    """An ``AutoModel`` that refuses models that cannot render by their configuration, before any weights are downloaded.

    ``dtype_is_free`` of a loaded model tells its renderer that the caller did not ask for a dtype.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        source = pretrained_model_name_or_path
        with loading(source, kwargs.get("revision")):
            read_config(source, {key: kwargs[key] for key in _WHERE if key in kwargs and key not in _CODE_OPTIONS})
            config = AutoConfig.from_pretrained(source, **{key: kwargs[key] for key in _WHERE if key in kwargs})
            kind = config.model_type
            if type(config) in MODEL_MAPPING and kind not in RENDERERS:  # other models may come with their own code
                made = MODEL_MAPPING[type(config)]
                if not (hasattr(made, "own_portrait") and hasattr(made, "prepare")):
                    raise HubError(_refusal(source, kind))
            model = super().from_pretrained(source, *model_args, **kwargs)
        model.dtype_is_free = kwargs.get("dtype", "auto") in ("auto", None)
        return model
