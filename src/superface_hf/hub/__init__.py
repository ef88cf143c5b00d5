"""Checkpoints: those embedded in the package, and their transfer to and from the Hugging Face Hub.

``cards`` writes model cards, ``upload`` pushes, ``failures`` explains errors, and ``model.HubMixin`` brings all of them to the
models.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SuperFaceError
from .cards import CardFacts, make_card
from .failures import loading, pushing
from .upload import push_checkpoint

__all__ = [
    "WEIGHTS",
    "CardFacts",
    "loading",
    "make_card",
    "push_checkpoint",
    "pushing",
    "weights_folder",
]

WEIGHTS = Path(__file__).parent.parent / "weights"


def weights_folder(name: str) -> Path:
    """Return the folder of an embedded checkpoint.

    Args:
        name: ``teacher``, ``student``, ``tracker``, ``matte``, ``inpainter``, ``restorer``, ``audio_to_lip``,
            ``sync_expert`` or ``lip_reader``.

    Raises:
        SuperFaceError: this installation does not hold it.
    """
    folder = WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise SuperFaceError(f"The embedded {name} weights are missing from {WEIGHTS}: install superface-hf again.")
    return folder
