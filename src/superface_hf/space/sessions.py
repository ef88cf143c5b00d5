"""Choose which session is forgotten when there are too many: first those that hold no data.

gradio forgets the session that was used longest ago. Anyone could make it forget all visitors and their results with some
hundred small requests under invented session names.
"""

from __future__ import annotations

import datetime
from typing import Any

from gradio.state_holder import SessionState, StateHolder


def forget_empty_first(holder: StateHolder) -> None:
    """Make a running app forget the oldest session that holds no data, or the oldest of all if each holds some."""

    def update(session_id: str) -> None:
        with holder.lock:
            sessions = holder.session_data
            if session_id in sessions:
                sessions.move_to_end(session_id)
            while len(sessions) > holder.capacity:
                others = [name for name in sessions if name != session_id]
                forgotten = next((name for name in others if not _remembers(sessions[name])), others[0])
                del sessions[forgotten]
                holder.time_last_used.pop(forgotten, None)

    holder.update = update  # type: ignore[method-assign]


def _remembers(session: SessionState) -> bool:
    """Return whether the session holds a value that has not expired."""
    now = datetime.datetime.now()

    def over(key: int) -> bool:
        seconds, since = session._state_ttl.get(key, (None, now))
        return seconds is not None and (now - since).total_seconds() > seconds

    values: list[tuple[int, Any]] = list(session.state_data.items())
    return any(value is not None and not over(key) for key, value in values)
