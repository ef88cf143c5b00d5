"""The outcome of preparing one raw file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .quality_filters import Drop


@dataclass
class RawReport:
    """The outcome for one raw video, for the manifest.

    Attributes:
        clips: names of the kept clips.
        dropped: of each dropped part ``start`` and ``seconds``, the ``filter``, its ``value`` and its ``limit``.
        cuts: seconds of the scene cuts.
        error: why the video could not be read.
    """

    key: str
    split: str
    kind: Literal["video", "pictures"] = "video"
    clips: list[str] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    def drop(self, start: float, seconds: float, reason: Drop, **more: Any) -> None:
        self.dropped.append(
            {"start": round(start, 3), "seconds": round(seconds, 3), "filter": reason.filter,
             "value": round(float(reason.value), 5), "limit": reason.limit, **more}
        )  # fmt: skip
