"""What a browser needs beside a student's graphs and layers: JavaScript, a page, and onnxruntime-web.

``static/`` is copied as it is. ``static/ort/`` holds two files of onnxruntime-web (MIT) from its npm package: the build that
computes on the CPU alone, and its WebAssembly, compressed. They come with this package, so that an export needs no network,
and the page no other host. To take a newer version: ``npm pack onnxruntime-web``, ``gzip -9n`` of
``dist/ort-wasm-simd-threaded.wasm``, and ``ORT_VERSION`` here.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
ORT_VERSION = "1.30.0"


def add_web_files(folder: Path, about: dict[str, Any]) -> None:
    """Add the web files to a student's folder; ``about`` is its manifest.

    Raises:
        OSError: they cannot be written.
    """
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text(json.dumps(package(about), indent=2) + "\n", encoding="utf-8")


def package(about: dict[str, Any]) -> dict[str, Any]:
    """Return ``package.json``, so that the folder can be published or linked as an npm package as it is."""
    from ...version import __version__

    name = re.sub(r"[^a-z0-9]+", "-", (about["person"] or "student").lower()).strip("-") or "student"
    return {
        "name": f"superface-student-{name}",
        "version": re.match(r"\d+\.\d+\.\d+|", __version__)[0] or "0.0.0",  # type: ignore[index]
        "description": "A SuperFace student: sound in, a talking face on a canvas",
        "type": "module",
        "main": "superface.js",
        "types": "superface.d.ts",
        "exports": {".": {"types": "./superface.d.ts", "default": "./superface.js"}, "./*": "./*"},
        "sideEffects": ["demo.js"],
        "license": f"{about['license']} AND MIT",
        "keywords": ["talking face", "lip sync", "avatar"],
    }
