"""Fits the linear maps between blendshape scores and motion coefficients, and mends what the data smear."""

from __future__ import annotations

import numpy as np

from ..face_model.arkit import ARKIT_NAMES, mirrored_name
from ..face_model.linear import FaceModel, lid_gap

_MIRROR = [ARKIT_NAMES.index(mirrored_name(name)) for name in ARKIT_NAMES]


def mirror_scores(scores: np.ndarray) -> np.ndarray:
    """Scores (N, 52) of the mirrored faces."""
    return scores[:, _MIRROR]
