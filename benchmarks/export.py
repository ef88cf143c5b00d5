"""Measure files of ``superface export``: size, speed, and the difference to torch in float32.

::

    python benchmarks/export.py [STUDENT] [--json FILE]

STUDENT is a folder or Hub id (default: the embedded one); the embedded audio-to-lip model is measured too. Speeds are those of
single frames, from a mesh to uint8 pixels, and of single steps of 20 ms, from samples to a mouth; "CPU ms" is what one thread
spends on one, whatever else the machine does. The PSNR is that of a student's pictures over the bundled motions, the difference
that of mouth coefficients over the bundled sentence, in standard deviations (root of mean squares).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from superface_hf.export import PRECISIONS, export_onnx
from superface_hf.export.audio_to_lip import audio_to_lip_graph
from superface_hf.export.loading import load_exportable
from superface_hf.export.onnx_file import run_with_onnxruntime
from superface_hf.export.student import motion_meshes
from superface_hf.hub.quiet import quiet_loading
from superface_hf.media import load_sound
from superface_hf.motion.bundled import BUNDLED_MOTIONS
from superface_hf.utils.assets import SPEECH

SECONDS = 4.0  # of each speed
FRAMES = 16  # of each bundled motion
THREADS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", nargs="?", default="student", help="folder or Hub id")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = {**student_rows(args.student, Path(folder)), **audio_to_lip_rows(Path(folder))}
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


@torch.inference_mode()
def student_rows(source: str, folder: Path) -> dict[str, dict[str, float]]:
    student: Any = loaded(source)
    meshes = torch.cat([motion_meshes(student, name, FRAMES) for name in BUNDLED_MOTIONS])
    prepared, one = student.prepare(), meshes[:1]
    window = np.array([[0.0, 0.0, 1.0]], np.float32)
    rows = {"student, torch fp32": speeds(lambda: student.render(prepared, one))}
    rows["student, torch fp32"]["MB"] = checkpoint_size(student, folder)
    for precision in PRECISIONS:
        report = export_onnx(student, folder / "student.onnx", precision)
        row = {"MB": report.size / 1e6, "PSNR (dB)": report.psnr or float("nan")}
        inputs = {"landmarks": one.numpy(), "window": window}
        rows[f"student, ONNX {precision}"] = row | onnx_speeds(report.path.read_bytes(), inputs)
    return rows


@torch.inference_mode()
def audio_to_lip_rows(folder: Path) -> dict[str, dict[str, float]]:
    model: Any = loaded("audio_to_lip")
    config = model.config
    sound = load_sound(str(SPEECH)).mono(config.sampling_rate)
    piece = sound[: config.samples_per_frame]
    stream = model.stream(config.frame_rate)
    rows = {"audio-to-lip, torch fp32": speeds(lambda: stream.push(piece))}
    rows["audio-to-lip, torch fp32"]["MB"] = checkpoint_size(model, folder)
    expected = model.stream(config.frame_rate).push(sound)
    graph = audio_to_lip_graph(model)
    step, overlap = graph.metadata["samples_per_frame"], graph.metadata["samples_overlap"]
    state = np.zeros((1, graph.metadata["state_size"]), np.float32)
    frames = len(expected) + config.look_ahead_frames
    whole = np.pad(sound, (graph.metadata["zeros_before"], 0))[None, : frames * step + overlap]
    for precision in PRECISIONS:
        report = export_onnx(model, folder / "lips.onnx", precision)
        content = report.path.read_bytes()
        mouth = run_with_onnxruntime(content, 1)({"samples": whole, "state": state})["mouth"][0]
        error = np.square(mouth[config.look_ahead_frames :] - expected).mean()
        row = {"MB": report.size / 1e6, "difference": float(np.sqrt(error))}
        one = {"samples": whole[:, : step + overlap], "state": state}
        rows[f"audio-to-lip, ONNX {precision}"] = row | onnx_speeds(content, one)
    return rows


def loaded(source: str) -> Any:
    with quiet_loading():
        return load_exportable(source)


def checkpoint_size(model: Any, folder: Path) -> float:
    """Return the size of the model as a checkpoint in float32, in MB."""
    with quiet_loading():
        model.save_pretrained(folder / "checkpoint")
    return (folder / "checkpoint" / "model.safetensors").stat().st_size / 1e6


def onnx_speeds(content: bytes, inputs: dict[str, np.ndarray]) -> dict[str, float]:
    row: dict[str, float] = {}
    for threads in THREADS:
        run = run_with_onnxruntime(content, threads)
        row |= speed(lambda run=run: run(inputs), threads)  # type: ignore[misc]
    return row


def speeds(work: Callable[[], Any]) -> dict[str, float]:
    """Return the speeds of torch."""
    row: dict[str, float] = {}
    for threads in THREADS:
        torch.set_num_threads(threads)
        row |= speed(work, threads)
    return row


def speed(work: Callable[[], Any], threads: int) -> dict[str, float]:
    for _ in range(3):
        work()
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < SECONDS:
        work()
        count += 1
    row = {f"a second, {threads} thr.": count / (time.perf_counter() - start)}
    return row | ({"CPU ms": 1e3 * (time.process_time() - cpu) / count} if threads == 1 else {})


def print_table(rows: dict[str, dict[str, float]]) -> None:
    columns = ("MB", "a second, 1 thr.", "a second, 2 thr.", "CPU ms", "PSNR (dB)", "difference")
    print(f"{'':<32}" + "".join(f"{title:>18}" for title in columns))
    for name, row in rows.items():
        cells = (f"{row[title]:>18,.4g}" if title in row else f"{'':>18}" for title in columns)
        print(f"{name:<32}" + "".join(cells))


if __name__ == "__main__":
    main()
