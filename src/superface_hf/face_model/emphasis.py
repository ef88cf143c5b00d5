"""Meshes that show an expression: a little larger than the landmarks of a face that makes it.

A moved picture shows less of an expression than a face does, whose skin also folds and shades: a landmarker sees 0.8 of the
mouth's width, of raised brows and of narrowed lids in frames whose meshes have nearly the true ones. With these meshes it sees
about what it sees in the true frames, which are as near by their pixels within 0.03 dB (docs/measurements.md, "Expressions").
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TypeVar

import numpy as np
from torch import Tensor

from ..motion import Motion
from ..utils.easing import smoothstep
from .linear import FaceModel

# By how much what moves the mouth sideways, the brows, and the lids is enlarged. Lids less, the more they are shut: a blink
# looks as shut as it is.
WIDTH, BROWS, LIDS = 1.2, 1.2, 1.55
# An eye that is shut by more than this share blinks; less is an expression, or noise.
SHUTTING = 0.3

ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)


class ShownFaceModel(FaceModel):
    """A face model whose meshes are for drawing. What it is given, and what portraits and people are fitted with, are the
    motions of the model that it is made of."""

    def __init__(self, model: FaceModel) -> None:
        names = ("mean", "identity_basis", "turn_basis", "metric", "triangles", "mirror")
        enlarged = {"mouth": (WIDTH, 1.0, 1.0), "brows": (BROWS, BROWS, BROWS)}
        super().__init__(
            {name: getattr(model, name) for name in names}
            | {
                f"basis.{region}": basis * basis.new_tensor(enlarged.get(region, (1.0, 1.0, 1.0)))
                for region, basis in model.bases.items()
            }
        )

    def _offsets(self, motion: Motion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return super()._offsets(replace(motion, eyes=motion.eyes * lid_emphasis(how_shut(motion.eyes))))


def lid_emphasis(shut: ArrayT) -> ArrayT:
    """Return the factor of the coefficients of eyes that are ``shut`` (0 to 1)."""
    return 1 + (LIDS - 1) * (1 - shut)


def how_shut(eyes: np.ndarray) -> np.ndarray:
    """Return how far the eyes (T, E) are shut, (T, E) in [0, 1], the same for all coefficients of an eye."""
    return smoothstep(eyes @ blink_scores(), SHUTTING, 1.0)


@cache
def blink_scores() -> np.ndarray:
    """Return the matrix (E, E) that gives, of the coefficients of both eyes, how much of a blink they are: 0 at rest, 1 shut,
    the same for all coefficients of an eye."""
    blink = Motion.neutral(1, 1.0).edit({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}).eyes.reshape(2, -1)
    scores = np.zeros((blink.size, blink.size))
    for eye, half in enumerate((slice(0, blink.shape[1]), slice(blink.shape[1], None))):
        scores[half, half] = (blink[eye] / np.square(blink[eye]).sum())[:, None]
    return scores


__all__ = ["SHUTTING", "ShownFaceModel", "blink_scores", "how_shut", "lid_emphasis"]
