"""Fidelity: how much of a restored picture comes from the input."""

from __future__ import annotations

import math

from ...errors import SuperFaceError


def check_fidelity(fidelity: float) -> None:
    """Raise a SuperFaceError if ``fidelity`` is no number from 0 to 1."""
    number = isinstance(fidelity, (int, float)) and not isinstance(fidelity, bool)
    if not number or not math.isfinite(fidelity) or not 0 <= fidelity <= 1:
        raise SuperFaceError(
            f"fidelity must be a number from 0 (the codebook's detail) to 1 (closest to the input), not {fidelity!r}."
        )
