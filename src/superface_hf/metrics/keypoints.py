"""How far the face in a rendered picture is from the true one, by what a tracker sees in both."""

from __future__ import annotations

import numpy as np

from ..errors import MotionError
from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion
from ..motion.rotations import rotation_matrix, rotation_vector

CHEEKS = (234, 454)  # where the face is widest, before the ears


def face_width(landmarks: np.ndarray) -> np.ndarray:
    """The distance of the cheekbones in space, so that a turned face is as wide as a frontal one: (..., 478, 3) -> (...)."""
    return np.linalg.norm(landmarks[..., CHEEKS[0], :3] - landmarks[..., CHEEKS[1], :3], axis=-1)


def keypoint_distance(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The mean distance in the picture's plane, in percent of the true face's width: (T, 478, 3) twice -> (T,)."""
    check_landmarks(predicted, target)
    distance = np.linalg.norm(predicted[..., :2] - target[..., :2], axis=-1).mean(-1)
    return 100 * distance / face_width(target)


def expression_distance(predicted: Motion, target: Motion) -> np.ndarray:
    """(T,) the mean absolute difference of the mouth, eyes and brows coefficients, in standard deviations."""
    parts = [np.abs(getattr(predicted, name) - getattr(target, name)) for name in ("mouth", "eyes", "brows")]
    return np.concatenate(parts, axis=1).mean(1)


def pose_distance(predicted: Motion, target: Motion) -> np.ndarray:
    """(T,) the angle between the two heads, in degrees."""
    turn = np.swapaxes(rotation_matrix(target.rotation), -1, -2) @ rotation_matrix(predicted.rotation)
    return np.degrees(np.linalg.norm(rotation_vector(turn), axis=-1))


def motions_of(
    predicted: np.ndarray, target: np.ndarray, shape: FaceShape | None = None, fps: float = 25.0
) -> tuple[Motion, Motion]:
    """Both motions on one neutral face, so that the face's shape plays no part: landmarks (T, 478, 3) twice.

    Args:
        shape: the person's neutral face; without it, it is fitted to ``target``.
    """
    check_landmarks(predicted, target)
    model = FaceModel.default()
    shape = shape or model.fit(target, fps)[0]
    return model.fit_frames(shape, predicted, fps), model.fit_frames(shape, target, fps)


def check_landmarks(predicted: np.ndarray, target: np.ndarray) -> None:
    """Raises MotionError where two arrays are not both (T, 478, 3)."""
    for landmarks in (predicted, target):
        if landmarks.ndim != 3 or landmarks.shape[1:] != (478, 3) or landmarks.shape != predicted.shape:
            raise MotionError(
                f"Landmarks must both have the shape (frames, 478, 3), not {predicted.shape} and {target.shape}."
            )
