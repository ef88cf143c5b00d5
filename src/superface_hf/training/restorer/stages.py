"""The stages of the restorer's training."""

from __future__ import annotations

from typing import Literal, get_args

#: The autoencoder and its codebook; then the codes of degraded pictures; then the skip into the decoder.
Stage = Literal["codebook", "codes", "skip"]
STAGES: tuple[Stage, ...] = get_args(Stage)


def stage_at(progress: float, first: float, second: float) -> tuple[Stage, float]:
    """Return the stage at a share of the whole training, and how much of that stage is done, from 0 to 1.

    Args:
        progress: from 0 to 1.
        first, second: the shares of the whole that the first two stages take.
    """
    if progress < first:
        return "codebook", progress / first
    if progress < first + second:
        return "codes", (progress - first) / second
    return "skip", (progress - first - second) / (1 - first - second)
