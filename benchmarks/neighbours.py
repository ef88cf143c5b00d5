"""Measure how much of its speed a job keeps beside another one: the embedded teacher and student, and the commands ``superface
generate`` and ``superface prepare``, alone and two side by side.

::

    python benchmarks/neighbours.py [--jobs teacher student generate prepare] [--seconds 10] [--rounds 2] [--spinning]

Each job has a separate process, with torch's default number of threads. Teacher and student render for ``--seconds``; a command
runs once from its start to its end, over a bundled clip of a few seconds. ``alone`` is the job's speed with no other
job of this program running, ``beside`` that of the slower of two that run at the same time, and ``kept`` their ratio: two jobs
that share the cores and waste nothing keep half each. ``--spinning`` measures with threads that spin while they wait, torch's
default without this package. While others use the machine, ratios mean little and speeds nothing; the best of several rounds
counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import superface_hf  # noqa: F401 - before torch: how its threads wait is read when it is loaded
from superface_hf.utils.assets import ASSETS, PORTRAIT
from superface_hf.utils.neighbours import WAITING

WANTED = 0.4
COMMANDS = ("generate", "prepare")
UNITS = {"teacher": "frames/s", "student": "frames/s", **dict.fromkeys(COMMANDS, "runs a minute")}
JOBS = tuple(UNITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of rendering (default: 10)")
    parser.add_argument("--rounds", type=int, default=2, help="the best counts (default: 2)")
    parser.add_argument("--spinning", action="store_true", help="threads spin while they wait")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job in COMMANDS:
        execute(args.job)
        return
    if args.job:
        render(args.job, args.seconds)
        return
    figures = {job: measure(job, args.seconds, args.rounds, args.spinning) for job in args.jobs}
    print(table(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def measure(job: str, seconds: float, rounds: int = 1, spinning: bool = False) -> dict[str, float]:
    """Return the job's speed (see ``UNITS``) alone and beside another one, and the share that is kept."""
    found = []
    for _ in range(rounds):
        (alone,) = speeds(job, 1, seconds, spinning)
        beside = min(speeds(job, 2, seconds, spinning))
        found.append({"alone": alone, "beside": beside, "kept": beside / alone})
    return max(found, key=lambda figures: figures["kept"])


def table(figures: dict[str, dict[str, float]]) -> str:
    lines = ["| job | alone | beside another | kept |", "|---|---|---|---|"]
    for job, speed in figures.items():
        lines.append(f"| {job} | {speed['alone']:.1f} {UNITS[job]} | {speed['beside']:.1f} | {speed['kept']:.0%} |")
    return "\n".join(lines)


def speeds(job: str, count: int, seconds: float, spinning: bool) -> list[float]:
    """Run ``count`` processes at once, which begin when all are ready, and return their speeds."""
    environment = {key: value for key, value in os.environ.items() if key not in (*WAITING, "OMP_NUM_THREADS")}
    if spinning:
        environment["OMP_WAIT_POLICY"] = "ACTIVE"
    command = [sys.executable, __file__, "--job", job, "--seconds", str(seconds)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, text=True, env=environment, **pipes) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{' '.join(command)} failed: run it by hand, with a line on its standard input, to see why.")
    return [float(speed) for speed in said]


def arguments(command: str, folder: Path) -> list[str]:
    """Return the arguments of the command: bundled files as input, results in ``folder``."""
    if command == "generate":
        speech = str(ASSETS / "space" / "example_speech.wav")
        return ["generate", str(PORTRAIT), "--audio", speech, "--fps", "8", "-o", str(folder / "out.mp4")]
    (folder / "raw" / "person").mkdir(parents=True)
    shutil.copy(ASSETS / "space" / "example_talk.mp4", folder / "raw" / "person")
    return ["prepare", str(folder / "raw"), "-o", str(folder / "set")]


def execute(command: str) -> None:
    """Print that this process is ready, wait for a line, run a command repeatedly, and print the runs per minute."""
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", "superface_hf.cli", *arguments(command, Path(folder))]
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.monotonic()
        subprocess.run(program, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        print(60 / (time.monotonic() - start))


def render(job: str, seconds: float) -> None:
    """Print that this process is ready, wait for a line, render, and print the frames per second."""
    import torch

    from superface_hf import SuperFaceStudentModel, SuperFaceTeacherModel
    from superface_hf.hub import weights_folder

    student = SuperFaceStudentModel.from_pretrained(weights_folder("student")).eval()
    with torch.inference_mode():
        model: Any = student
        prepared: Any = student.prepare()
        if job == "teacher":
            model = SuperFaceTeacherModel.from_pretrained(weights_folder("teacher")).eval()
            picture = student.texture[None].float() / 255
            prepared = model.prepare(picture, torch.ones_like(picture[:, :1]), student.landmarks[None])
        model.to(memory_format=torch.channels_last)
        for _ in range(2):
            model.render(prepared, student.landmarks[None])
        print("ready", flush=True)
        sys.stdin.readline()
        start, frames = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            model.render(prepared, student.landmarks[None])
            frames += 1
    print(frames / (time.monotonic() - start))


if __name__ == "__main__":
    main()
