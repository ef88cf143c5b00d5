"""How much of a true face's expression a rendered one makes: the slope of its changes over the true face's. 1 is right."""

from __future__ import annotations

import numpy as np

from ..face_model.linear import LIDS, FaceModel
from ..face_model.topology import INNER_LIPS, LEFT_BROW, RIGHT_BROW, lid_gap

MEASURES = ("opening", "width", "lips", "lids", "brows")
MOUTH_CORNERS = (61, 291)
# Upper and lower edge of each lip: pressed, rolled and pursed lips differ in how thick they are.
LIP_EDGES = ((0, 13), (14, 17))
# A brow, and the corners of the eye below it.
BROWS = ((LEFT_BROW, (263, 362)), (RIGHT_BROW, (33, 133)))
# Changes whose squares add up to less than this have no slope: the true face did not move.
UNMOVED = 1e-9


def expression_measures(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Return the opening and width of the mouth, the thickness of the lips, the openings of the lids and the height of the
    brows: name -> (T,) in canonical units.

    The head's place, size and turn are taken out, and what a turn does to tracked landmarks: it is no expression.

    Args:
        landmarks: (T, 478, 3) in any unit.
    """
    still = FaceModel.default().without_head(landmarks)
    left, right = (still[:, corner, 0] for corner in MOUTH_CORNERS)
    heights = [still[:, corners, 1].mean(1) - still[:, brow, 1].mean(1) for brow, corners in BROWS]
    return {
        "opening": lid_gap(still, INNER_LIPS),
        "width": np.abs(right - left),
        "lips": lid_gap(still, LIP_EDGES),
        "lids": np.mean([lid_gap(still, lids) for lids in LIDS], axis=0),
        "brows": np.mean(heights, axis=0),
    }


def slope(true: np.ndarray, made: np.ndarray) -> float:
    """Return the slope of the line through zero that fits changes ``made`` (N,) to ``true`` ones (N,); NaN without
    changes."""
    squares = float(np.square(true).sum())
    return float((true * made).sum()) / squares if squares > UNMOVED else float("nan")


def correlation(true: np.ndarray, made: np.ndarray) -> float:
    """Return Pearson's correlation of changes (N,) twice; NaN where one of them is constant."""
    if len(true) < 2 or min(np.ptp(true), np.ptp(made)) < UNMOVED:
        return float("nan")
    return float(np.corrcoef(true, made)[0, 1])
