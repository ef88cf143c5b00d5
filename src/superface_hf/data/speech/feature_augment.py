"""Augmentation of log-mel features: other voices, and bands and moments that are not heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FeatureAugment:
    """How often features change, and by how much; ranges are drawn from evenly.

    Attributes:
        tract: range of factors by which the bands are stretched, as another length of the vocal tract does (Jaitly and Hinton,
            2013, on mel bands instead of hertz); half of the windows keep theirs.
        band_masks, band_width: up to so many masks of up to so many bands (SpecAugment, Park et al., 2019).
        time_masks, time_width: up to so many masks of up to so many frames.
        tilt: how much louder or quieter the highest band becomes than the lowest, at most, in units of the features.
    """

    tract: tuple[float, float] = (0.88, 1.13)
    band_masks: int = 2
    band_width: int = 8
    time_masks: int = 2
    time_width: int = 8
    tilt: float = 0.3

    def __call__(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changed ``features`` (T, bands) float32; which frame they belong to stays."""
        frames, bands = features.shape
        result = features.copy()
        if rng.random() < 0.5:
            places = np.clip(np.arange(bands) * rng.uniform(*self.tract), 0, bands - 1)
            low = np.minimum(places.astype(int), bands - 2)
            share = (places - low).astype(np.float32)
            result = result[:, low] * (1 - share) + result[:, low + 1] * share
        result += np.linspace(-0.5, 0.5, bands, dtype=np.float32) * np.float32(rng.uniform(-self.tilt, self.tilt))
        silent = result.mean()
        for _ in range(int(rng.integers(0, self.band_masks + 1))):
            width = int(rng.integers(1, self.band_width + 1))
            start = int(rng.integers(0, bands - width + 1))
            result[:, start : start + width] = silent
        for _ in range(int(rng.integers(0, self.time_masks + 1))):
            width = min(int(rng.integers(1, self.time_width + 1)), frames)
            start = int(rng.integers(0, frames - width + 1))
            result[start : start + width] = silent
        return result
