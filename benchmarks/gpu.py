"""Measure teacher and student on a GPU: frames per second by batch size, and the difference of the frames to the CPU's.

::

    python benchmarks/gpu.py                                          # at most three minutes on one CUDA device
    python benchmarks/gpu.py --device cpu --batches 1 2 --seconds 0.5 # the same code where there is none

Each row is one model in one precision: rendering alone, from meshes on the device to the inputs of the compositor. "graph"
replays a captured CUDA graph, which avoids the cost of launching kernels. Both models render the embedded student's portrait.
"dB to the CPU" compares the pictures of the window with those of the same model on the CPU in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superface_hf import FaceModel, SuperFaceStudentModel, SuperFaceTeacherModel
from superface_hf.animation.portrait import stored_portrait
from superface_hf.animation.retargeting import on_portrait
from superface_hf.hub import weights_folder
from superface_hf.hub.quiet import quiet_loading
from superface_hf.motion.bundled import bundled_motion
from superface_hf.renderers.layered import precision
from superface_hf.training.student.scene import Scene

BATCHES = (1, 4, 16, 64)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
REPEATS = 5
WARM_UP = 3  # runs before anything is measured or captured
MOTION = "nod"
COMPARED = 4  # frames


@dataclass(frozen=True)
class Row:
    """One measurement, the median of ``REPEATS`` runs."""

    model: str
    precision: str
    batch: int
    way: str
    frames_a_second: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each row (default: 3)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    device = torch.device(args.device)
    student = loaded(SuperFaceStudentModel, "student")
    meshes = on_portrait(bundled_motion(MOTION), stored_portrait(student, FaceModel.default()), FaceModel.default())[1]
    compared = meshes[torch.linspace(0, len(meshes) - 1, COMPARED + 2).round().long()[1:-1]]
    rows: list[Row] = []
    nearness: dict[str, float] = {}
    print(f"{'model':<9}{'precision':<11}{'batch':>6}  {'way':<7}{'frames/s':>10}")
    for name, model in (("student", student), ("teacher", loaded(SuperFaceTeacherModel, "teacher"))):
        expected = pictures(model, student, compared, torch.device("cpu"), torch.float32)
        model.to(device)
        for title, dtype in PRECISIONS.items():
            found = pictures(model, student, compared, device, dtype)
            nearness[f"{name} {title}"] = decibels(found, expected)
            for batch in args.batches:
                driving = meshes[torch.arange(batch) % len(meshes)].to(device)
                for way, step in ways(model, student, driving, dtype).items():
                    rows.append(Row(name, title, batch, way, speed(step, batch, args.seconds, device)))
                    print(f"{name:<9}{title:<11}{batch:>6}  {way:<7}{rows[-1].frames_a_second:>10,.0f}", flush=True)
    for title, value in nearness.items():
        print(f"{title}: {value:.1f} dB to the CPU in float32")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"({device}: {where}; medians of {REPEATS})")
    if args.json:
        args.json.write_text(
            json.dumps({"rows": [vars(row) for row in rows], "dB": nearness, "device": where}, indent=1)
        )


def loaded(kind: Any, name: str) -> Any:
    with quiet_loading():
        model = kind.from_pretrained(str(weights_folder(name)), dtype=torch.float32)
    return model.eval().to(memory_format=torch.channels_last)


def prepared_on(model: Any, student: Any, device: torch.device) -> Any:
    """Prepare the model for the student's portrait."""
    if model is student:
        return model.prepare()
    scene = Scene.stored(student)
    return model.prepare(*(each.to(device) for each in (scene.texture, scene.matte, student.landmarks[None])))


def ways(model: Any, student: Any, driving: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    """Return the ways to render a batch: directly ("eager"), and on CUDA as a captured graph."""
    with torch.inference_mode(), precision(driving.device, dtype):
        prepared = prepared_on(model, student, driving.device)

    def eager() -> Any:
        # Autocast's cache of weights must not be shared with a captured graph.
        with torch.inference_mode(), torch.autocast(
            driving.device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False
        ):  # fmt: skip
            return model.render(prepared, driving)

    if driving.device.type != "cuda":
        return {"eager": eager}
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            eager()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        eager()
    return {"eager": eager, "graph": graph.replay}


def speed(step: Callable[[], Any], batch: int, seconds: float, device: torch.device) -> float:
    """Return the frames per second, the median of ``REPEATS`` runs."""
    for _ in range(WARM_UP):
        step()
    rates = []
    for _ in range(REPEATS):
        wait(device)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / REPEATS:
            step()
            count += 1
            wait(device)
        rates.append(batch * count / (time.perf_counter() - start))
    return statistics.median(rates)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pictures(model: Any, student: Any, meshes: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the pictures of the window (B, 3, S, S) in [0, 1], on the CPU: the person over the plate."""
    scene = Scene.stored(student).to(device)
    with torch.inference_mode():
        with precision(device, dtype):
            rendered = model.render(prepared_on(model, student, device), meshes.to(device)).rendered
        return scene.compose(rendered)[0].float().cpu()


def decibels(found: Tensor, expected: Tensor) -> float:
    return float(-10 * (found - expected).square().mean().clamp(min=1e-12).log10())


if __name__ == "__main__":
    main()
