"""Puts pieces of decoded sound where their time stamps say: what is missing between them is silence."""

from __future__ import annotations

from .clock import MAX_PAUSE

# Players do not notice less, and the clocks of many recorders are no better. Where something was lost, any gap counts.
LEAST_GAP = 0.1  # seconds
# Time stamps that go back further start anew, as where two recordings were joined.
MAX_OVERLAP = 5.0  # seconds


class Timeline:
    """Counts samples against time stamps.

    Args:
        rate: samples a second.
        start: the time that is the sound's start; None: that of its first piece.

    Attributes:
        gaps: where sound was missing, as seconds from the start, and for how many seconds.
        lost: seconds that were missing because of damage.
    """

    def __init__(self, rate: int, start: float | None) -> None:
        self._rate, self._zero = rate, start
        self._begun = False
        self._count = 0  # samples so far; negative before the start
        self.gaps: dict[float, float] = {}
        self.lost = 0.0

    def silence_before(self, time: float | None, lost: float | None = None) -> int:
        """How many samples of silence come before a piece at ``time``.

        Args:
            lost: how many seconds are missing before it at least, because of damage; None: there was none.
        """
        gap = self._gap(time)
        if not self._begun:
            self._begun = True
            self._count = min(0, gap)
            return max(0, gap)
        if lost is not None:
            more = max(0, round(lost * self._rate) - gap)
            self._zero = None if self._zero is None else self._zero - more / self._rate
            gap = max(0, gap + more)
            self.lost += gap / self._rate
            return gap
        if gap < LEAST_GAP * self._rate:
            return 0
        self.gaps[self._count / self._rate] = gap / self._rate
        return gap

    def add(self, samples: int) -> int:
        """Counts samples; says how many of them come before the start and are left out."""
        early = min(samples, max(0, -self._count))
        self._count += samples
        return early

    def _gap(self, time: float | None) -> int:
        """Samples between where the sound is and ``time``; negative where they overlap."""
        if time is None:
            return 0
        gap = 0 if self._zero is None else round((time - self._zero) * self._rate) - self._count
        earliest = -MAX_OVERLAP if self._begun else -MAX_PAUSE
        if self._zero is None or not earliest <= gap / self._rate <= MAX_PAUSE:
            self._zero = time - self._count / self._rate
            return 0
        return gap
