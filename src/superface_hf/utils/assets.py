"""The files that come with the package: a portrait and a sentence for demos, tests and examples."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets"
PORTRAIT = ASSETS / "astronaut.png"
SPEECH = ASSETS / "speech.flac"
