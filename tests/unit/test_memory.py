"""Memory that is free goes back to the system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from superface_hf.renderers.memory import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's heap, and Linux's /proc")
def test_gaps_between_blocks_in_use_are_returned():
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    blocks = [bytes([1]) * 60_000 for _ in range(4000)]  # 240 MB, each too small for a mapping of its own
    kept = blocks[::8]
    del blocks
    before = resident()
    return_freed_memory()
    assert resident() < before - 100
    assert len(kept) == 500
