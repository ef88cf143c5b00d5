"""Commands as a whole: every option with nonsense, and a real process that is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from superface_hf import cli
from superface_hf.utils.assets import PORTRAIT

# Arguments of all kinds where others belong.
ODD = ["", "-", "é" * 300, "../..", "1e999", "nan", "[]", "a=1=2"]


def _options() -> list[tuple[str, str]]:
    """Every option of every command that takes a value, once, whatever the command is about."""
    import argparse

    found: dict[tuple[str, str], None] = {}

    def walk(parser: argparse.ArgumentParser, path: list[str]) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    walk(inner, [*path, name])
            elif action.option_strings and action.nargs != 0 and path:
                found[path[0], action.option_strings[-1]] = None

    walk(cli.build_parser(), [])
    return list(found)


def test_every_option_of_every_command_takes_nonsense_calmly(monkeypatch, tmp_path, capsys):
    """Whatever it is given, a command ends with a status and at most a line (or its usage): nothing is raised."""
    monkeypatch.chdir(tmp_path)
    basis = {
        "generate": ["missing.jpg", "--motion", "nod", "-o", "o.mp4"],
        "dub": ["missing.mp4", "--audio", "missing.wav", "-o", "o.mp4"],
        "track": ["missing.mp4", "-o", "m.safetensors"],
        "edit": ["missing.jpg", "--set", "jawOpen=1", "-o", "o.png"],
        "prepare": ["missing", "-o", "set"],
        "train": ["teacher", "--config", "missing.yaml"],
        "distill": ["--portrait", "missing.jpg", "--name", "x", "-o", "s", "--set", "nothing=1"],
        "evaluate": ["teacher", "--data", "missing", "--out", "e"],
        "export": ["missing/missing/missing", "-o", "o.onnx"],
        "inspect": ["missing.png"],
        "push": ["missing", "nobody/nothing"],
    }
    tried = 0
    for command, option in _options():
        if command not in basis:  # demo and serve do what they are asked
            continue
        for value in ODD:
            arguments = [command, *basis[command], f"{option}={value}" if option.startswith("--") else option + value]
            try:
                status = cli.main(arguments)
            except SystemExit as end:
                status = int(end.code or 0)
            said = capsys.readouterr().err
            assert status in (1, 2), arguments
            assert "Traceback" not in said
            tried += 1
    assert tried > 300


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_the_real_command_ends_with_143_and_one_line(tmp_path):
    """A process that renders until it is told to stop."""
    command = [sys.executable, "-m", "superface_hf.cli", "generate", str(PORTRAIT), "--motion", "look_around"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "o.mp4")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".*.part.mp4")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143
    assert said.strip().splitlines()[-1] == "superface: stopped by SIGTERM."
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
