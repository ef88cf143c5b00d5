"""Rotations as vectors and matrices, and the similarity that best lays one point set on another.

All functions are numpy, vectorised over leading dimensions, and work in float64 inside.
"""

from __future__ import annotations

import numpy as np


def rotation_matrix(vectors: np.ndarray) -> np.ndarray:
    """Convert rotation vectors (..., 3) in radians to matrices (..., 3, 3) that act on column vectors (Rodrigues'
    formula)."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    # np.sinc(t) is sin(pi t) / (pi t): exact at zero, so no rotation needs no special case.
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)


def rotation_vector(matrices: np.ndarray) -> np.ndarray:
    """Convert rotation matrices (..., 3, 3) to rotation vectors (..., 3) of length at most pi."""
    matrices = np.asarray(matrices, np.float64)
    quaternions = _quaternion(matrices)
    real, imaginary = quaternions[..., 0], quaternions[..., 1:]
    length = np.linalg.norm(imaginary, axis=-1)
    angle = 2 * np.arctan2(length, real)
    factor = np.where(length > 1e-12, angle / np.maximum(length, 1e-12), 2.0)
    return imaginary * factor[..., None]


def _quaternion(matrices: np.ndarray) -> np.ndarray:
    """Convert rotation matrices (..., 3, 3) to unit quaternions (..., 4), with the real part first and not negative."""
    m = matrices
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    # Each row is a multiple of the quaternion; the row with the largest own square is the well-conditioned one.
    rows = np.empty((*m.shape[:-2], 4, 4))
    rows[..., 0, 0] = 1 + trace
    rows[..., 0, 1] = rows[..., 1, 0] = m[..., 2, 1] - m[..., 1, 2]
    rows[..., 0, 2] = rows[..., 2, 0] = m[..., 0, 2] - m[..., 2, 0]
    rows[..., 0, 3] = rows[..., 3, 0] = m[..., 1, 0] - m[..., 0, 1]
    for i in range(3):
        rows[..., i + 1, i + 1] = 1 + 2 * diagonal[..., i] - trace
        for j in range(i):
            rows[..., i + 1, j + 1] = rows[..., j + 1, i + 1] = m[..., i, j] + m[..., j, i]
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    quaternion = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def slerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate rotation vectors (T, 3) from ``start`` to ``end`` along the shortest turn, by ``weight`` (T,)."""
    first = rotation_matrix(start)
    turn = rotation_vector(np.swapaxes(first, -1, -2) @ rotation_matrix(end))
    return rotation_vector(first @ rotation_matrix(turn * np.asarray(weight)[..., None]))


def mean_rotation(vectors: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) nearest to all of ``vectors`` (T, 3) in the chordal sense."""
    return rotation_vector(_nearest_rotation(rotation_matrix(vectors).sum(0)))


def fit_similarity(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the similarity with the least squared error of ``scale * rotation @ source + offset`` against ``target``.

    Args:
        source, target: (..., P, 3); leading dimensions broadcast.
        weights: (P,) how much each point counts.

    Returns:
        rotation (..., 3, 3), scale (...,), offset (..., 3).
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    share = np.ones(source.shape[-2]) if weights is None else np.asarray(weights, np.float64)
    share = (share / share.sum())[:, None]
    source_centre = (share * source).sum(-2, keepdims=True)
    target_centre = (share * target).sum(-2, keepdims=True)
    centred = source - source_centre
    covariance = np.swapaxes(target - target_centre, -1, -2) @ (share * centred)
    rotation = _nearest_rotation(covariance)
    scale = (rotation * covariance).sum((-1, -2)) / (share * centred**2).sum((-1, -2))
    offset = target_centre[..., 0, :] - scale[..., None] * (rotation @ source_centre[..., 0, :, None])[..., 0]
    return rotation, scale, offset


def _nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrices)
    flip = np.ones((*matrices.shape[:-2], 3))
    flip[..., 2] = np.sign(np.linalg.det(u @ vt))
    return (u * flip[..., None, :]) @ vt
