"""The package as people install it: a wheel, used from another folder, with the weights that it brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superface_hf.media import load_picture
from superface_hf.utils.assets import PORTRAIT

ROOT = Path(__file__).parents[2]
NEEDED = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel holds, made from a copy of the sources: building leaves traces beside them."""
    copy, made = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in NEEDED:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        made,
    ]
    subprocess.run([*command, copy], check=True, timeout=300)
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(made.glob("superface_hf-*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def superface(installed: Path, elsewhere: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "superface_hf", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_wheel_holds_all_that_is_not_code(installed):
    package = ROOT / "src/superface_hf"
    data = {
        path.relative_to(package)
        for folder in ("weights", "assets", "model_cards")
        for path in (package / folder).rglob("*")
        if path.is_file()
    }
    assert len(data) > 30
    for path in data:
        assert (installed / "superface_hf" / path).read_bytes() == (package / path).read_bytes(), path


def test_it_edits_a_photograph_and_prints_the_result_alone(installed, tmp_path):
    result = superface(installed, tmp_path, "edit", PORTRAIT, "--set", "jawOpen=0.5", "-o", "out.png")
    assert (result.returncode, result.stdout, result.stderr) == (0, "out.png\n", "")
    change = np.abs(load_picture(tmp_path / "out.png").astype(int) - load_picture(PORTRAIT))
    assert change[:200, 330:].max() == 0  # what lies behind holds still
    assert change.max() > 30


def test_it_says_no_in_one_line(installed, tmp_path):
    """A picture without a face: no traceback, and nothing written."""
    Image.new("RGB", (200, 200), "white").save(tmp_path / "white.png")
    result = superface(installed, tmp_path, "edit", "white.png", "--set", "jawOpen=0.4", "-o", "out.png")
    assert result.returncode == 1
    assert result.stderr.startswith("superface: No face was found")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()
