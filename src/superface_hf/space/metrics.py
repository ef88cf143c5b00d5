"""Metrics of the server in the text format of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

Outcome = Literal["done", "refused", "failed", "stopped"]


class Metrics:
    """Counters that threads may share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._turned_away: Counter[str] = Counter()

    def ended(self, endpoint: str, outcome: Outcome) -> None:
        """Count a call that ended: "done" with a result, "refused" with advice for the visitor, "failed" by a fault of
        the server, "stopped" by the visitor."""
        with self._lock:
            self._requests[endpoint, outcome] += 1

    def worked(self, endpoint: str, seconds: float) -> None:
        with self._lock:
            self._seconds[endpoint] += seconds  # type: ignore[assignment]

    def turned_away(self, status: int) -> None:
        """Count a request that was answered before it reached a function."""
        with self._lock:
            self._turned_away[str(status)] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return all metrics in the text format of Prometheus.

        Args:
            gauges: name -> what it is, and its value now.
        """
        with self._lock:
            requests = [({"endpoint": name, "outcome": how}, count) for (name, how), count in self._requests.items()]
            seconds = [({"endpoint": name}, round(total, 3)) for name, total in self._seconds.items()]
            away = [({"status": status}, count) for status, count in self._turned_away.items()]
        lines = [
            *_family("requests_total", "counter", "Calls of the app's functions, by how they ended.", requests),
            *_family("work_seconds_total", "counter", "Time that the app's functions took.", seconds),
            *_family("turned_away_total", "counter", "Requests answered before any function, by HTTP status.", away),
        ]
        for name, (about, value) in gauges.items():
            lines += _family(name, "gauge", about, [({}, value)])
        return "\n".join(lines) + "\n"


def memory_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 on systems without ``/proc``."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])
    except (OSError, IndexError):
        return 0


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    name = f"superface_{name}"
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
