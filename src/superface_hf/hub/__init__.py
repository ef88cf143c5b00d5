"""Checkpoints: those that come with the package, and the way to the Hugging Face Hub and back.

``cards`` writes model cards, ``upload`` pushes, ``failures`` says what went wrong, and ``model.HubMixin`` gives all of it to
the models.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SuperFaceError
from .cards import CardFacts, make_card
from .failures import loading, pushing
from .quiet import quiet_loading
from .upload import push_checkpoint

if TYPE_CHECKING:
    import torch

    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel
    from ..models.matte.modeling_matte import SuperFaceMatteModel
    from ..models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel
    from ..models.tracker.modeling_tracker import SuperFaceTrackerModel

__all__ = [
    "WEIGHTS",
    "CardFacts",
    "embedded_audio_to_lip",
    "embedded_inpainter",
    "embedded_matte",
    "embedded_sync_expert",
    "embedded_tracker",
    "load_audio_to_lip",
    "loading",
    "make_card",
    "push_checkpoint",
    "pushing",
    "weights_folder",
]

WEIGHTS = Path(__file__).parent.parent / "weights"


def weights_folder(name: str) -> Path:
    """The folder of an embedded checkpoint.

    Args:
        name: ``teacher``, ``student``, ``tracker``, ``matte``, ``inpainter``, ``audio_to_lip`` or ``sync_expert``.

    Raises:
        SuperFaceError: this installation does not hold it.
    """
    folder = WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise SuperFaceError(f"The embedded {name} weights are missing from {WEIGHTS}: install superface-hf again.")
    return folder


def embedded_tracker(device: str | torch.device = "cpu") -> SuperFaceTrackerModel:
    """The tracker that comes with the package, ready to find faces."""
    import torch

    from ..models.tracker.modeling_tracker import SuperFaceTrackerModel

    with quiet_loading():
        model = SuperFaceTrackerModel.from_pretrained(weights_folder("tracker"), dtype=torch.float32)
    return model.to(device).eval()


def embedded_matte(device: str | torch.device = "cpu") -> SuperFaceMatteModel:
    """The matte network that comes with the package, ready to tell people from what is behind."""
    import torch

    from ..models.matte.modeling_matte import SuperFaceMatteModel

    model = SuperFaceMatteModel.from_pretrained(weights_folder("matte"), dtype=torch.float32)
    return model.to(device, memory_format=torch.channels_last).eval()


def embedded_inpainter(device: str | torch.device = "cpu") -> SuperFaceInpainterModel:
    """The inpainter that comes with the package, ready to fill the place of a person."""
    import torch

    from ..models.inpainter.modeling_inpainter import SuperFaceInpainterModel

    model = SuperFaceInpainterModel.from_pretrained(weights_folder("inpainter"), dtype=torch.float32)
    return model.to(device, memory_format=torch.channels_last).eval()


def embedded_sync_expert(device: str | torch.device = "cpu") -> SuperFaceSyncExpertModel:
    """The sync expert that comes with the package, ready to judge."""
    import torch

    from ..models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel

    with quiet_loading():
        model = SuperFaceSyncExpertModel.from_pretrained(weights_folder("sync_expert"), dtype=torch.float32)
    return model.to(device).eval()


def embedded_audio_to_lip(device: str | torch.device = "cpu") -> SuperFaceAudioToLipModel:
    """The audio-to-lip model that comes with the package."""
    return load_audio_to_lip(weights_folder("audio_to_lip"), device)


def load_audio_to_lip(
    source: SuperFaceAudioToLipModel | str | os.PathLike[str] | None, device: str | torch.device = "cpu"
) -> SuperFaceAudioToLipModel:
    """An audio-to-lip model: as given, by its folder or Hub id, or (None) the embedded one.

    Raises:
        SuperFaceError: it cannot be loaded.
    """
    import torch

    from ..models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

    if source is None:
        return embedded_audio_to_lip(device)
    if not isinstance(source, (str, os.PathLike)):
        return source.to(device).eval()  # type: ignore[arg-type]
    try:
        with quiet_loading():
            model = SuperFaceAudioToLipModel.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise SuperFaceError(f"The audio-to-lip model {source} cannot be loaded: {error}") from error
    return model.to(device).eval()
