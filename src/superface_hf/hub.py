"""Finds the checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SuperFaceError

if TYPE_CHECKING:
    import torch

    from .models.tracker.modeling_tracker import SuperFaceTrackerModel

WEIGHTS = Path(__file__).parent / "weights"


def weights_folder(name: str) -> Path:
    """The folder of an embedded checkpoint: ``teacher`` or ``tracker``.

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

    from .models.tracker.modeling_tracker import SuperFaceTrackerModel

    model = SuperFaceTrackerModel.from_pretrained(weights_folder("tracker"), dtype=torch.float32)
    return model.to(device).eval()  # type: ignore[arg-type]
