"""Measure whether lips touch when they must: in /p b m/ and in silence. Mouths are ``Motion.mouth`` coefficients, (T, 30)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import MediaError
from ..face_model.lips import CLOSED, mouth_opening
from .lips import checked_mouth

# The first sign of a symbol counts ("pʰ", "bː"), in IPA or, in either case, ARPAbet ("P").
BILABIALS = frozenset("pbm")
LABIODENTALS = frozenset("fvɱ\u028b")  # these are left out of both shares

# Silence: quieter than the loud parts of the recording by this many dB, or than this against full scale.
BELOW_SPEECH, NOTHING = 40.0, -65.0
LEVEL_SECONDS = 0.01


def bilabial_closure(
    mouth: np.ndarray, fps: float, phonemes: Iterable[tuple[str, float, float]]
) -> tuple[float, float]:
    """Return the share of /p b m/ in which lips touch, and the share of other sounds in which they do.

    A sound counts as closed if the opening is below ``CLOSED`` in any frame from its start to its end (half a frame more on
    both sides, so that every sound has a frame). The second number shows what the first is worth: a mouth that is always
    shut closes on all bilabials too.

    Args:
        mouth: (T, 30), frame k at ``k / fps`` seconds.
        phonemes: (symbol, start, end) in IPA and seconds; pauses have an empty symbol.

    Returns:
        Shares in [0, 1], NaN where there was no such sound.
    """
    closed = mouth_opening(checked_mouth(mouth)) < CLOSED
    touched: dict[bool, list[bool]] = {True: [], False: []}
    for symbol, start, end in phonemes:
        first = symbol[:1].lower()
        if not first or first in LABIODENTALS:
            continue
        begin, stop = int(np.ceil(start * fps - 0.5)), int(np.floor(end * fps + 0.5)) + 1
        if stop <= 0 or begin >= len(closed):
            continue
        touched[first in BILABIALS].append(bool(closed[max(begin, 0) : stop].any()))
    return _share(touched[True]), _share(touched[False])


def closed_in_silence(
    mouth: np.ndarray,
    fps: float,
    samples: np.ndarray,
    sampling_rate: int,
    longer_than: float = 0.3,
    margin: float = 0.0,
) -> float:
    """Return the share of frames in long silences whose lips touch, in [0, 1]; NaN if there is no such frame.

    Args:
        mouth: (T, 30), frame k at ``k / fps`` seconds.
        samples: (N,) float in [-1, 1].
        longer_than: seconds; shorter silences are not looked at.
        margin: seconds left out at both ends of a silence: lips part shortly before a sound, and close after one.

    Raises:
        MediaError: there are no samples.
    """
    opening = mouth_opening(checked_mouth(mouth))
    times = np.arange(len(opening)) / fps
    inside = np.zeros(len(opening), bool)
    for start, end in silences(samples, sampling_rate):
        if end - start > longer_than:
            inside |= (times >= start + margin) & (times < end - margin)
    return float((opening[inside] < CLOSED).mean()) if inside.any() else float("nan")


def silences(samples: np.ndarray, sampling_rate: int) -> list[tuple[float, float]]:
    """Return the stretches (start, end) in seconds without speech, in order. A silent recording is one stretch.

    Raises:
        MediaError: there are no samples.
    """
    hop = max(1, round(sampling_rate * LEVEL_SECONDS))
    samples = np.asarray(samples, np.float64)
    if samples.ndim != 1 or len(samples) == 0:
        raise MediaError(f"Sound must be mono and not empty, of the shape (samples,), not {samples.shape}.")
    padded = np.pad(samples, (0, -len(samples) % hop))
    level = 10 * np.log10(np.square(padded).reshape(-1, hop).mean(1) + 1e-12)
    silent = level < max(np.percentile(level, 95) - BELOW_SPEECH, NOTHING)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    seconds = np.minimum(edges * hop, len(samples)) / sampling_rate
    return [(float(start), float(end)) for start, end in seconds.reshape(-1, 2)]


def _share(values: list[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")
