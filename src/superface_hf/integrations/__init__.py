"""Students behind voice agents: speech in, pictures and sound in step out. ``live`` needs no other library; ``pipecat`` and
``livekit`` are for those."""

from __future__ import annotations

from .live import LiveFace, LivePart, LiveSession

__all__ = ["LiveFace", "LivePart", "LiveSession"]
