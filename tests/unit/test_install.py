"""The installation takes the build of torch that fits the machine, and never waits for an index that does not answer."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

import superface_hf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def torch_index() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_index", ROOT / ".ci" / "torch_index.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index() -> Iterator[str]:
    """An index that answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/whl/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/whl/cpu"
        server.shutdown()


def test_the_cpu_build_comes_from_its_own_index(torch_index, index, monkeypatch):
    monkeypatch.setitem(torch_index.INDEXES, "cpu", index)
    assert torch_index.options("cpu") == ["--extra-index-url", index]
    monkeypatch.setattr(torch_index.shutil, "which", lambda _: None)
    assert torch_index.options("auto") == ["--extra-index-url", index]


def test_a_machine_with_a_gpu_gets_the_cuda_build(torch_index, monkeypatch):
    monkeypatch.setattr(torch_index.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch_index, "answers", lambda _: True)
    assert torch_index.options("auto") == ["--extra-index-url", torch_index.INDEXES["cuda"]]
    assert torch_index.options("default") == []


def test_an_index_that_says_nothing_is_left_out(torch_index, monkeypatch):
    monkeypatch.setattr(torch_index, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setitem(torch_index.INDEXES, "cpu", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert torch_index.options("cpu") == []
    monkeypatch.setitem(torch_index.INDEXES, "cpu", "http://127.0.0.1:9")
    assert torch_index.options("cpu") == []


def test_an_unknown_build_is_refused():
    asked = subprocess.run(
        [sys.executable, ROOT / ".ci" / "torch_index.py", "gpu"], capture_output=True, text=True, check=False
    )
    assert asked.returncode != 0
    assert "cpu, cuda, default" in asked.stderr


def test_one_version():
    """It is written once; what cannot read it from there is compared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "superface_hf.version.__version__"}
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == superface_hf.__version__
    assert f"## {superface_hf.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_nobody_is_sent_to_an_index_where_the_package_is_not():
    for path in texts():
        for line in path.read_text(encoding="utf-8").splitlines():
            asked = line if path.suffix != ".txt" else f"pip install {line}"
            named = re.search(r"pip3? install\s+(-\S+\s+)*['\"]?superface[-_]hf(?![\w.])", asked)
            assert named is None, f"{path.relative_to(ROOT)}: {line.strip()}"


def texts() -> Iterator[Path]:
    """What people read: code with its messages, cards, docs, and the Space."""
    yield from ROOT.glob("*.md")
    for folder, suffixes in (("src", {".py", ".md"}), ("docs", {".md"}), ("spaces", {".md", ".py", ".txt"})):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)


def test_the_workflow_calls_what_every_change_must_pass():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for form in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        content = yaml.safe_load(form.read_text())
        assert form.name == "config.yml" or content.keys() == {"name", "description", "labels", "body"}


def test_all_files_name_the_same_pythons():
    """What pyproject.toml promises, the pins and the tests of all Pythons."""
    project = (ROOT / "pyproject.toml").read_text()
    lowest = re.search(r'requires-python = ">=(3\.\d+)"', project)
    assert lowest is not None
    assert f'target-version = "py{lowest[1].replace(".", "")}"' in project
    versions = re.search(r"VERSIONS = \((.*)\)", (ROOT / ".ci" / "pythons.py").read_text())
    assert versions is not None
    tested = re.findall(r"3\.\d+", versions[1])
    assert tested[0] == lowest[1]
    assert re.findall(r"Python :: (3\.\d+)", project) == tested
    for page in ("README.md", "docs/quickstart.md"):
        text = (ROOT / page).read_text()
        assert f"Python {tested[0]} to {tested[-1]}" in text, page
        assert "--extra-index-url https://download.pytorch.org/whl/cpu" in text, page
