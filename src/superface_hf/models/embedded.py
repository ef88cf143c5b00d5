"""Load the models that are embedded in the package."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import SuperFaceError
from ..hub import weights_folder

if TYPE_CHECKING:
    import torch

    from .audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
    from .inpainter.modeling_inpainter import SuperFaceInpainterModel
    from .lip_reader.modeling_lip_reader import SuperFaceLipReaderModel
    from .matte.modeling_matte import SuperFaceMatteModel
    from .restorer.modeling_restorer import CodebookRestorer
    from .sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel
    from .tracker.modeling_tracker import SuperFaceTrackerModel


def embedded_tracker(device: str | torch.device = "cpu") -> SuperFaceTrackerModel:
    """Return the embedded tracker in evaluation mode."""
    import torch

    from .tracker.modeling_tracker import SuperFaceTrackerModel

    model = SuperFaceTrackerModel.from_pretrained(weights_folder("tracker"), dtype=torch.float32)
    return model.to(device).eval()


def embedded_matte(device: str | torch.device = "cpu") -> SuperFaceMatteModel:
    """Return the embedded matte network in evaluation mode."""
    import torch

    from .matte.modeling_matte import SuperFaceMatteModel

    model = SuperFaceMatteModel.from_pretrained(weights_folder("matte"), dtype=torch.float32)
    return model.to(device, memory_format=torch.channels_last).eval()


def embedded_inpainter(device: str | torch.device = "cpu") -> SuperFaceInpainterModel:
    """Return the embedded inpainter in evaluation mode."""
    import torch

    from .inpainter.modeling_inpainter import SuperFaceInpainterModel

    model = SuperFaceInpainterModel.from_pretrained(weights_folder("inpainter"), dtype=torch.float32)
    return model.to(device, memory_format=torch.channels_last).eval()


def embedded_sync_expert(device: str | torch.device = "cpu") -> SuperFaceSyncExpertModel:
    """Return the embedded sync expert in evaluation mode."""
    import torch

    from .sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel

    model = SuperFaceSyncExpertModel.from_pretrained(weights_folder("sync_expert"), dtype=torch.float32)
    return model.to(device).eval()


def embedded_lip_reader(device: str | torch.device = "cpu") -> SuperFaceLipReaderModel:
    """Return the embedded lip reader in evaluation mode."""
    import torch

    from .lip_reader.modeling_lip_reader import SuperFaceLipReaderModel

    model = SuperFaceLipReaderModel.from_pretrained(weights_folder("lip_reader"), dtype=torch.float32)
    return model.to(device).eval()


def embedded_audio_to_lip(device: str | torch.device = "cpu") -> SuperFaceAudioToLipModel:
    """Return the embedded audio-to-lip model in evaluation mode."""
    return load_audio_to_lip(weights_folder("audio_to_lip"), device)


def load_audio_to_lip(
    source: SuperFaceAudioToLipModel | str | os.PathLike[str] | None, device: str | torch.device = "cpu"
) -> SuperFaceAudioToLipModel:
    """Return an audio-to-lip model: the given one, the one in a folder or at a Hub id, or the embedded one (None).

    Raises:
        SuperFaceError: it cannot be loaded.
    """
    import torch

    from .audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

    if source is None:
        return embedded_audio_to_lip(device)
    if not isinstance(source, (str, os.PathLike)):
        return source.to(device).eval()  # type: ignore[arg-type]
    try:
        model = SuperFaceAudioToLipModel.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise SuperFaceError(f"The audio-to-lip model {source} cannot be loaded: {error}") from error
    return model.to(device).eval()


def load_restorer(
    source: CodebookRestorer | str | os.PathLike[str] | None, device: str | torch.device = "cpu"
) -> CodebookRestorer:
    """Return a restorer: the given one, the one in a folder or at a Hub id, or the embedded one (None).

    Raises:
        SuperFaceError: it cannot be loaded, or is another model.
    """
    from .restorer.modeling_restorer import CodebookRestorer

    if isinstance(source, CodebookRestorer):
        return source.to(device).eval()
    where = weights_folder("restorer") if source is None else source
    if not isinstance(where, (str, os.PathLike)):
        raise SuperFaceError(
            f"A restorer is a CodebookRestorer, or the folder or Hub id of one, not {type(source).__name__}."
        )
    try:
        made = CodebookRestorer.load_config(where).get("_class_name")
        if made != CodebookRestorer.__name__:
            raise SuperFaceError(f"{where} holds a {made or 'model of another library'}, not a CodebookRestorer.")
        model = CodebookRestorer.from_pretrained(where)
    except (OSError, ValueError, RuntimeError) as error:
        raise SuperFaceError(f"The restorer {where} cannot be loaded: {error}") from error
    return model.to(device).eval()
