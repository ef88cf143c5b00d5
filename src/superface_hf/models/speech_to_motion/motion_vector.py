"""Motion as one row of numbers a frame, relative to the person's rest pose."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...face_model.linear import FaceModel
from ...motion import Motion
from ...motion.arkit import EXPRESSION_REGIONS, ArkitMaps
from ...motion.rotations import mean_rotation, rotation_matrix, rotation_vector

HEAD_SIZE = 6  # three of rotation, two of translation, one of scale


@lru_cache(maxsize=1)
def region_slices() -> dict[str, slice]:
    """Return the columns of each region in a row: mouth, eyes, brows and gaze as in ``Motion``, then the head."""
    sizes = {**ArkitMaps.default().sizes, "head": HEAD_SIZE}
    slices, start = {}, 0
    for region in (*EXPRESSION_REGIONS, "head"):
        slices[region] = slice(start, start + sizes[region])
        start += sizes[region]
    return slices


def motion_size() -> int:
    """Return the length of a row: 66 with the embedded face model."""
    return max(part.stop for part in region_slices().values())


def rest_frame(motion: Motion) -> Motion:
    """Return one frame: the median of all poses, eyes, brows and gazes, with the mouth of the neutral face."""
    middle = {name: np.median(getattr(motion, name), axis=0, keepdims=True) for name in ("eyes", "brows", "gaze")}
    return Motion(
        rotation=mean_rotation(motion.rotation)[None],
        translation=np.median(motion.translation, axis=0, keepdims=True),
        scale=np.median(motion.scale, keepdims=True),
        mouth=np.zeros_like(motion.mouth[:1]),
        **middle,
        fps=motion.fps,
    )


def to_vectors(motion: Motion, rest: Motion) -> np.ndarray:
    """Return rows (T, 66) float32: expressions as differences from ``rest`` (one frame), the head as its change.

    The head's rotation is a vector in radians in the frame of the head at rest, its translation is in inter-ocular distances
    at rest, its scale the logarithm of a factor.
    """
    turn = np.swapaxes(rotation_matrix(rest.rotation), -1, -2) @ rotation_matrix(motion.rotation)
    head = np.column_stack(
        [
            rotation_vector(turn),
            (motion.translation - rest.translation) / rest.scale[:, None],
            np.log(motion.scale / rest.scale),
        ]
    )
    parts = [getattr(motion, region) - getattr(rest, region) for region in EXPRESSION_REGIONS]
    return np.concatenate([*parts, head], axis=1).astype(np.float32)


def from_vectors(vectors: np.ndarray, fps: float) -> Motion:
    """Return the motion of rows (T, 66) as changes from a neutral face: no change is zero, and a scale of 1."""
    slices = region_slices()
    head = vectors[:, slices["head"]]
    expressions = {region: vectors[:, slices[region]] for region in EXPRESSION_REGIONS}
    return Motion(head[:, :3], head[:, 3:5], np.exp(head[:, 5]), **expressions, fps=fps)


@lru_cache(maxsize=1)
def mirror_matrix() -> np.ndarray:
    """Return the matrix (66, 66) that mirrors rows: ``rows @ mirror_matrix()``."""
    model, size = FaceModel.default(), motion_size()
    matrix = np.zeros((size, size), np.float32)
    for region, part in region_slices().items():
        if region == "head":  # pitch, yaw, roll, right, down, nearer
            matrix[part, part] = np.diag([1, -1, -1, -1, 1, 1])
            continue
        basis = model.bases[region].double().numpy()
        mirrored = basis[:, model.mirror.numpy()] * np.array([-1.0, 1.0, 1.0])
        flat = basis.reshape(len(basis), -1)
        matrix[part, part] = np.linalg.lstsq(flat.T, mirrored.reshape(len(basis), -1).T, rcond=None)[0].T
    return matrix
