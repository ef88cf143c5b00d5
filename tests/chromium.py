"""Debian's headless Chromium, for tests of what people see in a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

PATIENCE = 180_000  # milliseconds; seconds are enough, unless the machine is busy with other things
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# The sandbox wants rights that a container lacks; the rest keeps Chromium from calling its maker.
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--mute-audio",
)  # fmt: skip


@contextmanager
def launched(*flags: str, needs: str = "playwright") -> Iterator[Any]:
    """A Playwright browser. The test is skipped where Chromium or the package ``needs`` is missing, and fails where
    ``SUPERFACE_REQUIRE_BROWSER`` is set."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    missing = [name for name in ("playwright", needs) if find_spec(name) is None] + ([] if program else ["Chromium"])
    if missing:
        report = pytest.fail if os.environ.get("SUPERFACE_REQUIRE_BROWSER") else pytest.skip
        report(f"Tests in a browser need {' and '.join(missing)}.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
        yield chromium
        chromium.close()
