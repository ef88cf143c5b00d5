"""Find clips that were seen before: they look the same, and they move the same."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from PIL import Image

from ...face_model.lips import mouth_opening
from ...motion import Motion

HASH_PIXELS = 32  # side of the grey picture that a hash is made of
HASH_TOLERANCE = 8  # bits of 64 in which frames that look the same may differ
MOVEMENT_RATE, MIN_MOVEMENT = 25.0, 20  # samples a second; fewer samples are not compared
USUAL_OPENING, USUAL_TURN = 0.05, 0.05  # inter-ocular distances, radians: what a talking face moves by


def perceptual_hash(picture: np.ndarray) -> np.ndarray:
    """Return (8,) uint8: 64 bits, the signs of a small grey picture's slowest waves against their median.

    Scaling, another codec and a change of brightness alter few of them.
    """
    small = Image.fromarray(picture).convert("L").resize((HASH_PIXELS, HASH_PIXELS), Image.Resampling.BOX)
    waves = _WAVES @ np.asarray(small, np.float64) @ _WAVES.T
    waves[0, 0] = np.median(waves)  # the brightness
    return np.packbits(waves > np.median(waves))


def _cosines(count: int, size: int) -> np.ndarray:
    """Return (count, size): the slowest waves of the discrete cosine transform."""
    return np.cos(np.pi * np.arange(count)[:, None] * (np.arange(size) + 0.5) / size)


_WAVES = _cosines(8, HASH_PIXELS)


def movement(motion: Motion, found: np.ndarray) -> np.ndarray:
    """Return (T', 3) float16, 25 a second: how far the mouth is open, and how the head is turned, in usual amounts.

    Args:
        motion: of the frames that are ``found`` (T,).
    """
    opening = mouth_opening(motion.mouth) / USUAL_OPENING
    signals = np.concatenate([opening[:, None], motion.rotation[:, :2] / USUAL_TURN], axis=1)
    seen = np.flatnonzero(found)
    times = np.arange(0, len(found), motion.fps / MOVEMENT_RATE)
    return np.stack([np.interp(times, seen, column) for column in signals.T], axis=1).astype(np.float16)


def same_movement(one: np.ndarray, other: np.ndarray) -> float:
    """Return how alike two movements (T, 3), (T', 3) are where they agree best: a correlation, over half of the shorter at
    least.

    Copies of a clip, cut and coded again, have 0.99; two takes of one person who says one word up to 0.96.
    """
    shorter, longer = sorted((one.astype(np.float64), other.astype(np.float64)), key=len)
    least = max(len(shorter) // 2, MIN_MOVEMENT)
    best = 0.0
    for shift in range(least - len(shorter), len(longer) - least + 1):
        a = shorter[max(0, -shift) : len(longer) - shift]
        b = longer[max(0, shift) : shift + len(shorter)]
        a, b = a - a.mean(0), b - b.mean(0)
        energy = np.sqrt((a * a).sum() * (b * b).sum())
        best = max(best, float((a * b).sum() / energy) if energy > 0 else 0.0)
    return min(best, 1.0)


class DuplicateIndex:
    """Finds clips that were seen before, in whole or in part: those whose frames look the same and that move the same.

    Looks alone cannot tell a copy from another take of the same person in the same place.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes: list[np.ndarray] = []
        self._movements: list[np.ndarray] = []
        # Frames that look the same agree in one of a hash's bands at least, almost certainly.
        self._bands: dict[tuple[int, int], set[int]] = defaultdict(set)

    def add(self, name: str, hashes: np.ndarray, moves: np.ndarray) -> None:
        """Remember a clip by the hashes (K, 8) of its frames and its ``movement``."""
        for entry in self._entries(hashes):
            self._bands[entry].add(len(self._names))
        self._names.append(name)
        self._hashes.append(hashes)
        self._movements.append(moves)

    def find(self, hashes: np.ndarray, moves: np.ndarray) -> tuple[float, str]:
        """Find the earlier clip that moves most alike among those that look the same: ``same_movement`` with it, and its
        name."""
        near = {clip for entry in self._entries(hashes) for clip in self._bands.get(entry, ())}
        best, name = 0.0, ""
        for clip in near:
            if looks_alike(hashes, self._hashes[clip]):
                agreement = same_movement(moves, self._movements[clip])
                if agreement > best:
                    best, name = agreement, self._names[clip]
        return best, name

    @staticmethod
    def _entries(hashes: np.ndarray) -> set[tuple[int, int]]:
        bands = np.ascontiguousarray(hashes).view(np.uint16).reshape(len(hashes), -1)
        return {entry for row in bands.tolist() for entry in enumerate(row)}


def looks_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether a third of the frames of the shorter clip look like some of the other: hashes (K, 8), (K', 8)."""
    fewer, more = sorted((one, other), key=len)
    apart = np.unpackbits(fewer[:, None] ^ more[None], axis=-1).sum(-1)
    return bool((apart.min(1) <= HASH_TOLERANCE).mean() >= 1 / 3)
