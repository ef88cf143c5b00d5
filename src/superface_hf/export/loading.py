"""Find what is to be exported, by folder, Hub id, or the name of an embedded checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import SuperFaceError
from ..hub import WEIGHTS, loading


def load_exportable(source: str) -> PreTrainedModel:
    """Return a student or an audio-to-lip model, in float32 on the CPU.

    Raises:
        SuperFaceError: there is no such model, or it is of a kind that cannot be exported.
    """
    import torch

    from ..models.audio_to_lip import SuperFaceAudioToLipConfig, SuperFaceAudioToLipModel
    from ..models.student.configuration_student import SuperFaceStudentConfig
    from ..models.student.modeling_student import SuperFaceStudentModel

    kinds: dict[str, Any] = {
        SuperFaceStudentConfig.model_type: SuperFaceStudentModel,
        SuperFaceAudioToLipConfig.model_type: SuperFaceAudioToLipModel,
    }
    embedded = WEIGHTS / source
    if not Path(source).is_dir() and (embedded / "config.json").is_file():
        source = str(embedded)
    with loading(source):
        found = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    if found not in kinds:
        what = f"a model of type {found!r}" if found else "no checkpoint of this package"
        raise SuperFaceError(f"{source} is {what}: only students and audio-to-lip models can be exported.")
    return kinds[found].from_pretrained(source, dtype=torch.float32).eval()
