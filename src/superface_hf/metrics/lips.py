"""Compare predicted lips with the true ones. Mouths are ``Motion.mouth`` coefficients, (T, 30)."""

from __future__ import annotations

import numpy as np

from ..errors import MotionError
from ..face_model.lips import lip_points, mouth_opening


def lip_distance(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return LMD: the mean 3D distance of the 40 lip points, in percent of the inter-ocular distance.

    Raises:
        MotionError: the mouths are not of one shape (T, 30), or not finite; so do the functions below.
    """
    predicted, true = _pair(predicted, true)
    return float(100 * np.linalg.norm(lip_points(predicted) - lip_points(true), axis=-1).mean())


def lip_velocity_distance(predicted: np.ndarray, true: np.ndarray, fps: float) -> float:
    """Return LVD: the mean distance of the lip points' velocities, in percent of the inter-ocular distance a second.

    A mouth that stands still has the velocity distance of the true mouth's own speed.
    """
    predicted, true = _pair(predicted, true)
    if len(predicted) < 2:
        raise MotionError("Velocities need at least two frames.")
    difference = np.diff(lip_points(predicted) - lip_points(true), axis=0) * fps
    return float(100 * np.linalg.norm(difference, axis=-1).mean())


def opening_correlation(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return Pearson's correlation of the two mouths' openings over time; 0 where one of them does not move."""
    predicted, true = (mouth_opening(mouth) for mouth in _pair(predicted, true))
    spread = predicted.std() * true.std()
    if spread < 1e-9:
        return 0.0
    return float(((predicted - predicted.mean()) * (true - true.mean())).mean() / spread)


def opening_spread(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the predicted opening's standard deviation over the true one's: below 1 mumbles, above 1 exaggerates.

    NaN where the true mouth does not move at all.
    """
    predicted, true = (mouth_opening(mouth) for mouth in _pair(predicted, true))
    return float(predicted.std() / true.std()) if true.std() > 1e-9 else float("nan")


def _pair(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = checked_mouth(predicted), checked_mouth(true)
    if len(predicted) != len(true):
        raise MotionError(f"One mouth has {len(predicted)} frames, the other {len(true)}: cut the longer one.")
    return predicted, true


def checked_mouth(mouth: np.ndarray) -> np.ndarray:
    """Return a mouth as (T, 30) float64, T at least 1.

    Raises:
        MotionError: it is not.
    """
    try:
        array = np.asarray(mouth, np.float64)
    except (TypeError, ValueError) as error:
        raise MotionError(f"A mouth is an array of numbers of the shape (frames, 30): {error}") from error
    if array.ndim != 2 or array.shape[1] != 30 or len(array) == 0:
        raise MotionError(f"A mouth must have the shape (frames, 30), not {array.shape}.")
    if not np.isfinite(array).all():
        raise MotionError("The mouth holds NaN or infinite values.")
    return array
