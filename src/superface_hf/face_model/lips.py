"""What mouth coefficients look like: where the lips are, and how far they are apart.

Both are those of the neutral mean face with the mouth moved, in its canonical pose, so that they mean the same for everyone.
Lengths are inter-ocular distances (outer eye corner to outer eye corner).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .linear import FaceModel
from .topology import INNER_LIPS, LIPS_INNER, LIPS_OUTER

# Openings below this count as lips that touch. On the training clips, the official landmarker's own inner-lip points have two
# clear groups: touching (under 0.012, 13,100 frames, at the peak of the histogram) and apart, with a valley near 0.045. Fitted
# coefficients blur that: the touching frames give openings of 0.015 in the median (90% under 0.028). At 0.03, 92% of them count
# as closed, and of the frames whose lips are just apart (0.04 to 0.07) 1.1%. The neutral face itself, an average of many, has
# its lips slightly apart: 0.037. So a mouth of zeros is *not* closed.
CLOSED = 0.03

RING = np.concatenate([LIPS_OUTER, LIPS_INNER])  # the order of `lip_points`

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)


def lip_points(mouth: ArrayT) -> ArrayT:
    """The lips that a mouth makes.

    Args:
        mouth: (..., 30) ``Motion.mouth`` coefficients. A numpy array gives a numpy array, a tensor a tensor (on its device
            and differentiable).

    Returns:
        (..., 40, 3): the outer ring, then the inner one, each as in ``face_model.topology``; x right, y down, z to the camera.
    """
    return _points(mouth, tuple(RING))


def mouth_opening(mouth: ArrayT) -> ArrayT:
    """How far the inner lips are apart, (...), for coefficients (..., 30): the mean distance of the ``INNER_LIPS`` pairs."""
    pairs = _points(mouth, tuple(np.array(INNER_LIPS).T.reshape(-1)))
    half = len(INNER_LIPS)
    if isinstance(pairs, Tensor):
        return (pairs[..., half:, :] - pairs[..., :half, :]).norm(dim=-1).mean(-1)
    return np.linalg.norm(pairs[..., half:, :] - pairs[..., :half, :], axis=-1).mean(-1)


def _points(mouth: ArrayT, points: tuple[int, ...]) -> ArrayT:
    """The mean face's ``points`` (P of them) moved by mouth coefficients (..., 30): (..., P, 3)."""
    mean, basis = _geometry(points)
    if isinstance(mouth, Tensor):
        mean, basis = mean.to(mouth), basis.to(mouth)
        return mean + (mouth @ basis).unflatten(-1, mean.shape)
    moved = mouth @ basis.numpy()
    return mean.numpy() + moved.reshape(*moved.shape[:-1], *mean.shape)


@lru_cache
def _geometry(points: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(P, 3) the mean face's points, and (30, 3 P) how each coefficient moves them."""
    model = FaceModel.default()
    chosen = list(points)
    # They are kept: made in inference mode, they could never be trained through.
    with torch.inference_mode(False):
        return model.mean[chosen].clone(), model.bases["mouth"][:, chosen].flatten(1).clone()
