"""Put pieces of decoded sound at their time stamps, with silence in the gaps."""

from __future__ import annotations

from .clock import MAX_PAUSE

# Smaller gaps are not noticed, and the clocks of many recorders are no better. After damage any gap counts.
MIN_GAP = 0.1  # seconds
# Time stamps that go back further begin a new recording, as where two recordings were joined.
MAX_OVERLAP = 5.0  # seconds


class Timeline:
    """Counts samples against time stamps.

    Args:
        rate: samples a second.
        start: the time at which the sound starts; None: the time of its first piece.

    Attributes:
        gaps: for each time, in seconds from the start, at which sound was missing, the seconds that were missing.
        lost: seconds that were missing because of damage.
    """

    def __init__(self, rate: int, start: float | None) -> None:
        self._rate, self._zero = rate, start
        self._begun = False
        self._count = 0  # samples so far; negative before the start
        self.gaps: dict[float, float] = {}
        self.lost = 0.0

    def silence_before(self, time: float | None, lost: float | None = None) -> int:
        """Return how many samples of silence precede a piece at ``time``.

        Args:
            lost: the least number of seconds missing before it because of damage; None: there was no damage.
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
        if gap < MIN_GAP * self._rate:
            return 0
        self.gaps[self._count / self._rate] = gap / self._rate
        return gap

    def add(self, samples: int) -> int:
        """Count samples, and return how many of them come before the start and are left out."""
        early = min(samples, max(0, -self._count))
        self._count += samples
        return early

    def _gap(self, time: float | None) -> int:
        """Return the number of samples between the end of the sound so far and ``time``; negative where they overlap."""
        if time is None:
            return 0
        gap = 0 if self._zero is None else round((time - self._zero) * self._rate) - self._count
        earliest = -MAX_OVERLAP if self._begun else -MAX_PAUSE
        if self._zero is None or not earliest <= gap / self._rate <= MAX_PAUSE:
            self._zero = time - self._count / self._rate
            return 0
        return gap
