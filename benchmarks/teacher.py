"""Measure the cost of a teacher: parameters, multiply-accumulates and frames per second, in total and by part.

::

    python benchmarks/teacher.py [--model FOLDER] [--threads 2]

Multiply-accumulates are what torch's ``FlopCounterMode`` counts (convolutions and matrix products), divided by two. A part's
milliseconds are those of batch 1 in float32. "Written" are whole clips of the pipeline, the portrait that says the demo's
sentence, from the known motion to the encoded mp4: as usual (in bfloat16 where the CPU has it), and with the networks run for
every frame. How good the pictures are is measured by ``superface evaluate teacher``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from superface_hf import FaceModel, Motion, SuperFaceTeacherModel
from superface_hf.hub import weights_folder
from superface_hf.media import load_picture
from superface_hf.pipelines.driving import driver_of
from superface_hf.pipelines.request import Request
from superface_hf.pipelines.talking_face import TalkingFacePipeline
from superface_hf.renderers.auto import AutoRenderer
from superface_hf.utils.assets import PORTRAIT, SPEECH

COUNTER = "torch's FlopCounterMode / 2"
REST = "meshes and warps"


def measure_cost(teacher: SuperFaceTeacherModel, seconds: float = 8.0) -> dict[str, float]:
    """Return parameters, multiply-accumulates and speed of one rendered frame of a prepared portrait."""
    size = teacher.config.image_size
    landmarks = FaceModel.default().mean[None] * 0.3
    source, matte = torch.rand(1, 3, size, size), torch.ones(1, 1, size, size)
    cost = {"parameters": float(sum(p.numel() for p in teacher.parameters()))}
    with torch.inference_mode():
        prepared = teacher.prepare(source, matte, landmarks)
        steps = {
            "portrait": lambda: teacher.prepare(source, matte, landmarks),
            "frame": lambda: teacher.render(prepared, landmarks),
        }
        for step, work in steps.items():
            cost |= {f"GMACs per {step}{part}": value for part, value in count_macs(teacher, work).items()}
            cost |= {f"ms per {step}{part}": value for part, value in time_parts(teacher, work).items()}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                prepared = teacher.prepare(source, matte, landmarks)
                teacher.render(prepared, landmarks)
                frames, start = 0, time.perf_counter()
                while time.perf_counter() - start < seconds:
                    teacher.render(prepared, landmarks)
                    frames += 1
            cost[f"frames/s {name}"] = frames / (time.perf_counter() - start)
    return cost


def measure_clips(teacher: SuperFaceTeacherModel, frames: int = 60) -> dict[str, float]:
    """Return frames per second of clips that the pipeline writes, after the portrait is prepared."""
    pipe, speeds = TalkingFacePipeline(model=teacher), {}
    small = load_picture(PORTRAIT)
    large = cv2.resize(small, (1080, 1080), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, 0, 0, 420, 420, cv2.BORDER_REPLICATE)
    pieces = driver_of(Request(audio=str(SPEECH)), pipe).pieces()
    motion = Motion.concatenate([piece.motion for piece in pieces if piece.motion is not None])

    def seconds(picture: np.ndarray, count: int, batch_size: int | None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            pipe.write(Path(folder) / "clip.mp4", picture, motion=motion[:count], batch_size=batch_size, progress=False)
            return time.perf_counter() - start

    for name, picture in (("512 x 512", small), ("1920 x 1080", large)):
        for how, batch_size in (("", None), (", every frame", 1)):
            first = min(seconds(picture, 2, batch_size) for _ in range(2))
            speeds[f"frames/s written, {name}{how}"] = frames / (seconds(picture, 2 + frames, batch_size) - first)
    return speeds


def count_macs(teacher: SuperFaceTeacherModel, work: Callable[[], object]) -> dict[str, float]:
    """Return the billions of multiply-accumulates of ``work``: under "" all of them, under ", name" those of one of the
    teacher's parts."""
    counter = FlopCounterMode(display=False)
    counts: dict[str, float] = defaultdict(float)
    with counter, _around_parts(teacher, lambda name, sign: _add(counts, name, sign * counter.get_total_flops() / 2e9)):
        work()
    return _with_rest(counts, counter.get_total_flops() / 2e9)


def time_parts(teacher: SuperFaceTeacherModel, work: Callable[[], object], repeats: int = 3) -> dict[str, float]:
    """Return the time of ``work`` in ms, keyed as in :func:`count_macs`; the fastest of several repeats."""
    work()
    best: dict[str, float] = {"": float("inf")}
    for _ in range(repeats):
        times: dict[str, float] = defaultdict(float)
        start = time.perf_counter()
        with _around_parts(teacher, lambda name, sign: _add(times, name, sign * 1e3 * time.perf_counter())):  # noqa: B023
            work()
        total = 1e3 * (time.perf_counter() - start)
        if total < best[""]:
            best = _with_rest(times, total)
    return best


@contextmanager
def _around_parts(teacher: SuperFaceTeacherModel, note: Callable[[str, int], None]) -> Iterator[None]:
    """Call ``note(name, -1)`` before and ``note(name, +1)`` after each part of the teacher that runs."""
    handles = []
    for name, part in teacher.named_children():
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: note(name, -1)))
        handles.append(part.register_forward_hook(lambda *_, name=name: note(name, 1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add(counts: dict[str, float], name: str, value: float) -> None:
    counts[name] += value


def _with_rest(parts: dict[str, float], total: float) -> dict[str, float]:
    named = {f", {name}": value for name, value in parts.items()}
    return {"": total, **named, f", {REST}": total - sum(parts.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=weights_folder("teacher"))
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each speed is measured (default: 8)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    teacher = AutoRenderer.from_pretrained(args.model).eval()  # the pipeline chooses what it computes in
    teacher.to(memory_format=torch.channels_last)
    cost = measure_cost(teacher, args.seconds) | measure_clips(teacher)
    for name, value in cost.items():
        print(f"{name:<48} {value:>14,.2f}")
    print(
        f"(MACs by {COUNTER}; {torch.get_num_threads()} threads, batch 1, {teacher.config.image_size} px, channels_last)"
    )
    if args.json:
        args.json.write_text(json.dumps({**cost, "threads": torch.get_num_threads(), "counter": COUNTER}, indent=1))


if __name__ == "__main__":
    main()
