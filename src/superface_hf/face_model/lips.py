"""Lip positions and lip distance that mouth coefficients give.

Both are measured on the neutral mean face in its canonical pose, with the mouth moved, so that they mean the same for everyone.
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

# Lips count as touching below this opening. In the training clips, the official landmarker's inner-lip points form two clear
# groups: touching (under 0.012, 13,100 frames, at the peak of the histogram) and apart, with a valley near 0.045. Fitted
# coefficients blur the two: the touching frames have openings of 0.015 in the median (90% under 0.028). At 0.03, 92% of them
# count as closed, and 1.1% of the frames whose lips are just apart (0.04 to 0.07). The neutral face, an average of many people,
# has an opening of 0.037. So a mouth of zeros is *not* closed.
CLOSED = 0.03

RING = np.concatenate([LIPS_OUTER, LIPS_INNER])  # the order of `lip_points`

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)


def lip_points(mouth: ArrayT) -> ArrayT:
    """Return the lip points that mouth coefficients give.

    Args:
        mouth: (..., 30) ``Motion.mouth`` coefficients. A numpy array gives a numpy array, a tensor a tensor (on its device
            and differentiable).

    Returns:
        (..., 40, 3): the outer ring, then the inner one, each as in ``face_model.topology``; x right, y down, z to the camera.
    """
    return _points(mouth, tuple(RING))


def mouth_opening(mouth: ArrayT) -> ArrayT:
    """Return the distance of the inner lips (...) for coefficients (..., 30): the mean over the ``INNER_LIPS``
    pairs."""
    pairs = _points(mouth, tuple(np.array(INNER_LIPS).T.reshape(-1)))
    half = len(INNER_LIPS)
    if isinstance(pairs, Tensor):
        return (pairs[..., half:, :] - pairs[..., :half, :]).norm(dim=-1).mean(-1)
    return np.linalg.norm(pairs[..., half:, :] - pairs[..., :half, :], axis=-1).mean(-1)


def _points(mouth: ArrayT, points: tuple[int, ...]) -> ArrayT:
    """Return the mean face's ``points`` (..., P, 3), moved by mouth coefficients (..., 30)."""
    mean, basis = _geometry(points)
    if isinstance(mouth, Tensor):
        mean, basis = mean.to(mouth), basis.to(mouth)
        return mean + (mouth @ basis).unflatten(-1, mean.shape)
    moved = mouth @ basis.numpy()
    return mean.numpy() + moved.reshape(*moved.shape[:-1], *mean.shape)


@lru_cache
def _geometry(points: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the mean face's points (P, 3), and how each coefficient moves them (30, 3 P)."""
    model = FaceModel.default()
    chosen = list(points)
    # They are cached: made in inference mode, they could not be used in training later.
    with torch.inference_mode(False):
        return model.mean[chosen].clone(), model.bases["mouth"][:, chosen].flatten(1).clone()
