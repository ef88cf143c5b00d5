"""Compare the face in a rendered picture with the true one, by a tracker's landmarks in both."""

from __future__ import annotations

import numpy as np

from ..errors import MotionError
from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion
from ..motion.rotations import rotation_matrix, rotation_vector

CHEEKS = (234, 454)  # where the face is widest, before the ears


def face_width(landmarks: np.ndarray) -> np.ndarray:
    """Return the distance (...) of the cheekbones of (..., 478, 3) in space, so that a turned face is as wide as a
    frontal one."""
    return np.linalg.norm(landmarks[..., CHEEKS[0], :3] - landmarks[..., CHEEKS[1], :3], axis=-1)


def keypoint_distance(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean distance (T,) of landmarks (T, 478, 3) in the picture's plane, in percent of the true face's width."""
    check_landmarks(predicted, target)
    distance = np.linalg.norm(predicted[..., :2] - target[..., :2], axis=-1).mean(-1)
    return 100 * distance / face_width(target)


def expression_distance(predicted: Motion, target: Motion) -> np.ndarray:
    """Return the mean absolute difference (T,) of the mouth, eyes and brows coefficients, in standard deviations."""
    parts = [np.abs(getattr(predicted, name) - getattr(target, name)) for name in ("mouth", "eyes", "brows")]
    return np.concatenate(parts, axis=1).mean(1)


def pose_distance(predicted: Motion, target: Motion) -> np.ndarray:
    """Return the angle (T,) between the two heads, in degrees."""
    turn = np.swapaxes(rotation_matrix(target.rotation), -1, -2) @ rotation_matrix(predicted.rotation)
    return np.degrees(np.linalg.norm(rotation_vector(turn), axis=-1))


def motions_of(
    predicted: np.ndarray, target: np.ndarray, shape: FaceShape | None = None, fps: float = 25.0
) -> tuple[Motion, Motion]:
    """Fit both motions to one neutral face, so that its shape does not matter: landmarks (T, 478, 3) twice.

    Args:
        shape: the person's neutral face; without it, it is fitted to ``target``.
    """
    check_landmarks(predicted, target)
    model = FaceModel.default()
    shape = shape or model.fit(target, fps)[0]
    return model.fit_frames(shape, predicted, fps), model.fit_frames(shape, target, fps)


def check_landmarks(predicted: np.ndarray, target: np.ndarray) -> None:
    """Raise MotionError unless two arrays are both (T, 478, 3)."""
    for landmarks in (predicted, target):
        if landmarks.ndim != 3 or landmarks.shape[1:] != (478, 3) or landmarks.shape != predicted.shape:
            raise MotionError(
                f"Landmarks must both have the shape (frames, 478, 3), not {predicted.shape} and {target.shape}."
            )
