"""Say what will not look right with a face that may be no person's: a drawn one, an animal's, or one that is hard to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..models.tracker.base import ALONE, LooksAgain
from .drawn_eyes import looks_flat

if TYPE_CHECKING:
    from ..models.tracker.base import Face, FaceTracker

DRAWN = (
    "The face in the picture looks drawn. What is learned is people's: teeth, shut lids and the skin around mouth and eyes "
    "will not look right in a flat drawing. Check the result."
)
UNSURE = (
    "What was found in the picture may be no person's face. Animals, drawings, puppets, masks and covered faces will not look "
    "right: check the result, or pass another picture."
)


def doubts_about(picture: np.ndarray, face: Face, tracker: FaceTracker, drawn_eyes: bool) -> str | None:
    """Return what will not look right when this face moves, or None for a person's that is clearly seen.

    Args:
        picture: (H, W, 3) uint8.
        face: one of the faces that the tracker found in it.
        drawn_eyes: whether :func:`~superface_hf.animation.drawn_eyes.fit_drawn_eyes` found its eyes drawn.
    """
    if drawn_eyes or looks_flat(picture, face.landmarks):
        return DRAWN
    alone = tracker.seen_alone(picture, face) if isinstance(tracker, LooksAgain) else 1.0
    return None if face.certain and alone >= ALONE else UNSURE
