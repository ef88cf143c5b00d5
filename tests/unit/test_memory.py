"""Memory that is free goes back to the system, and live streams do not wait for the garbage collector."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from superface_hf.renderers.memory import return_freed_memory
from superface_hf.utils.pauses import short_collections


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


@pytest.fixture
def thawed() -> Iterator[None]:
    """What the tests have set aside takes part again."""
    before = gc.get_freeze_count()
    gc.unfreeze()
    yield
    if before:
        gc.freeze()


@pytest.mark.usefixtures("thawed")
def test_the_last_stream_that_ends_puts_everything_back():
    with short_collections():
        with short_collections():
            assert gc.get_freeze_count() > 10_000
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("thawed")
def test_what_somebody_else_set_aside_stays_so():
    gc.freeze()
    with short_collections():
        pass
    assert gc.get_freeze_count() > 10_000
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_a_stream_sets_aside_and_a_clip_does_not(small_teacher, tracker, scene):
    from transformers import pipeline

    pipe = pipeline("talking-face", model=small_teacher, tracker=tracker)
    frames = pipe.stream(scene, motion="nod", fps=5)
    assert gc.get_freeze_count() == 0
    next(frames)
    assert gc.get_freeze_count() > 10_000
    frames.close()
    assert gc.get_freeze_count() == 0
    assert len(pipe(scene, motion="nod", fps=5).frames)
    assert gc.get_freeze_count() == 0
