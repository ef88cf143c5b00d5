"""Compare a student with its teacher: size, cost, speed, memory, and the difference of their pictures.

::

    python benchmarks/student.py [STUDENT] [--teacher FOLDER] [--clips FOLDER] [--threads 2]

STUDENT is a folder or Hub id that ``superface distill`` made, by default the one that comes with the package.
Multiply-accumulates are what torch's ``FlopCounterMode`` counts (convolutions and matrix products) from a mesh to a frame,
divided by two. Speeds are those of batch 1, from a mesh to the full picture in uint8, one after the other with all threads, or
as the pipeline renders a student, a frame on each core; "speech to mp4" is audio-to-lip, rendering and encoding (in 720p:
``benchmarks/realtime.py``). With ``--clips`` (a folder of
``val_*.mp4``), the PSNR is measured on the motions of these clips, put on the student's portrait.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import count, islice, takewhile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import pipeline

from superface_hf import FaceModel, SuperFaceStudentModel, SuperFaceTeacherModel
from superface_hf.animation.portrait import Portrait, stored_portrait
from superface_hf.animation.retargeting import on_portrait
from superface_hf.data.motion_bank import windows_of
from superface_hf.drivers.video import video_to_motion
from superface_hf.export import export_onnx
from superface_hf.export.onnx_file import run_with_onnxruntime
from superface_hf.hub import weights_folder
from superface_hf.hub.quiet import quiet_loading
from superface_hf.layers.compositing import Compositor
from superface_hf.layers.motion import Window
from superface_hf.media import VideoReader
from superface_hf.models.embedded import embedded_tracker
from superface_hf.renderers.student import StudentRenderer
from superface_hf.renderers.threads import in_order
from superface_hf.training.student.report import closeness, rendered
from superface_hf.training.student.scene import Scene
from superface_hf.training.student.teacher_frames import render_frames
from superface_hf.utils.assets import SPEECH

SECONDS = 6.0  # of each speed
MOVED = torch.tensor([0.05, 0.02, 0.0])  # how far the face is from where it rests
CLIP_FRAMES, CLIP_SECONDS = 12, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", nargs="?", help="folder or Hub id (default: the embedded one)")
    parser.add_argument("--teacher", default=str(weights_folder("teacher")))
    parser.add_argument("--clips", type=Path, help="folder of val_*.mp4")
    parser.add_argument("--count", type=int, default=8, help="clips at most (default: 8)")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    source = args.student or str(weights_folder("student"))
    threads = args.threads or torch.get_num_threads()
    rows: dict[str, dict[str, float]] = {"teacher": {}, "student": {}}
    for dtype in ("fp32", "bf16"):
        rows["teacher"] |= alone(teacher_row, source, args.teacher, dtype, threads)
        rows["student"] |= alone(student_row, source, dtype, threads)
    rows["student"] |= alone(onnx_row, source, threads)
    for model, row in rows.items():
        row["MACs, share of the teacher's"] = row["MMACs a frame"] / rows["teacher"]["MMACs a frame"]
        folder = Path(source if model == "student" else args.teacher)
        if (folder / "model.safetensors").exists():
            row["checkpoint MB"] = (folder / "model.safetensors").stat().st_size / 1e6
    rows["student"]["speech to mp4, frames/s"] = alone(speed_with_everything, source, threads)
    if args.clips:
        rows["student"] |= alone(nearness, source, args.teacher, args.clips, args.count, threads)
    print_table(rows)
    print(f"({threads} threads, batch 1; memory is that of a process that does nothing else)")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def alone(work: Callable[..., Any], *args: Any) -> Any:
    """Return the result of ``work`` in a separate process; its last argument is the number of threads."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=args[-1:]
    ) as pool:
        return pool.submit(work, *args).result()


def student_row(source: str, dtype: str, threads: int) -> dict[str, float]:
    student = loaded(SuperFaceStudentModel, source)
    mesh = student.landmarks[None] + MOVED
    ready = StudentRenderer(student).prepare(stored_portrait(student, FaceModel.default()), student.layers)
    ready = replace(ready, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)

    def work(_: int = 0) -> np.ndarray:
        return ready.frames(mesh)[0]

    with torch.inference_mode():
        prepared = student.prepare()
        row = _cost(work, lambda: student.render(prepared, mesh), student, dtype)
    frames = in_order(work, [count()], threads)
    next(frames)
    start = time.perf_counter()
    done = sum(1 for _ in takewhile(lambda _: time.perf_counter() - start < SECONDS, frames))
    row[f"frames/s {dtype}, as the pipeline renders"] = done / (time.perf_counter() - start)
    frames.close()  # type: ignore[attr-defined]
    return row


def teacher_row(source: str, teacher: str, dtype: str, threads: int) -> dict[str, float]:
    """Return the figures of the teacher on the student's portrait."""
    model, student = loaded(SuperFaceTeacherModel, teacher), loaded(SuperFaceStudentModel, source)
    scene, rest = Scene.stored(student), student.landmarks[None]
    compositor = Compositor(student.layers(), student.crop, student.landmarks.numpy())
    mesh = rest + MOVED

    def frame() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            window = Window.following(student.crop, student.landmarks, mesh)
            return compositor(model.render(prepared, mesh, window).rendered, mesh)

    with torch.inference_mode():
        prepared = model.prepare(scene.texture, scene.matte, rest)
        return _cost(frame, lambda: model.render(prepared, mesh), model, dtype)


def loaded(kind: Any, source: str) -> Any:
    with quiet_loading():
        return kind.from_pretrained(source, dtype=torch.float32).eval().to(memory_format=torch.channels_last)


def _cost(frame: Callable[[], Any], render: Callable[[], Any], model: Any, dtype: str) -> dict[str, float]:
    with FlopCounterMode(display=False) as counter:
        render()
    speed, cpu = timed(frame)
    return {
        "parameters (M)": sum(p.numel() for p in model.parameters()) / 1e6,
        "MMACs a frame": counter.get_total_flops() / 2e6,
        f"frames/s {dtype}": speed,
        f"CPU ms a frame {dtype}": cpu,
        f"peak memory MB {dtype}": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return frames per second, and CPU time per frame in ms."""
    work()
    frames, start, cpu = 0, time.perf_counter(), time.process_time()
    while (seconds := time.perf_counter() - start) < SECONDS:
        work()
        frames += 1
    return frames / seconds, 1e3 * (time.process_time() - cpu) / frames


def onnx_row(source: str, threads: int) -> dict[str, float]:
    """Return the figures in onnxruntime, for the file that `superface export` writes."""
    student = loaded(SuperFaceStudentModel, source)
    with tempfile.TemporaryDirectory() as folder:
        report = export_onnx(student, Path(folder) / "student.onnx")
        run = run_with_onnxruntime(report.path.read_bytes(), threads)
    inputs = {"landmarks": student.landmarks[None].numpy(), "window": np.array([[0, 0, 1]], np.float32)}
    speed, cpu = timed(lambda: run(inputs))
    return {"frames/s ONNX": speed, "CPU ms a frame ONNX": cpu, "ONNX MB": report.size / 1e6}


def speed_with_everything(source: str, threads: int) -> float:
    """Return the speed from speech to an mp4 of the student's full picture."""
    pipe: Any = pipeline("talking-face", model=loaded(SuperFaceStudentModel, source), device="cpu")  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        pipe.write(Path(folder) / "warm.mp4", motion="blink", progress=False)
        start = time.perf_counter()
        motion = pipe.write(Path(folder) / "out.mp4", audio=str(SPEECH), progress=False)
        return len(motion) / (time.perf_counter() - start)


def nearness(source: str, teacher_source: str, clips: Path, most: int, threads: int) -> dict[str, float]:
    """Return the PSNR to the teacher on motions of other people's clips."""
    student, teacher = loaded(SuperFaceStudentModel, source), loaded(SuperFaceTeacherModel, teacher_source)
    portrait = stored_portrait(student, FaceModel.default())
    scene, scores = Scene.stored(student), []
    with torch.inference_mode():
        prepared = teacher.prepare(scene.texture, scene.matte, student.landmarks[None])
        for path in sorted(clips.glob("val_*.mp4"))[:most]:
            meshes = clip_meshes(path, portrait)
            windows = windows_of(meshes, student.crop, student.landmarks)
            frames = render_frames(teacher, prepared, scene, meshes, windows, 2, torch.float32, exact=True)
            targets = frames.decoded(range(len(meshes))).permute(0, 2, 3, 1).numpy()
            inside = Window(windows[:, :2], windows[:, 2]).enter(meshes)
            scores.append(closeness(rendered(student, meshes, windows), targets, inside).mean(0))
    whole, boxes = np.mean(scores, 0)
    worst = np.min(scores, 0)
    return {
        "PSNR to the teacher (dB)": whole, "PSNR, eyes and mouth (dB)": boxes,
        "worst clip (dB)": worst[0], "worst clip, eyes and mouth (dB)": worst[1], "clips": len(scores),
    }  # fmt: skip


def clip_meshes(path: Path, portrait: Portrait) -> Tensor:
    """Return some meshes of a clip's motion on the portrait, as the pipeline would render them."""
    reader = VideoReader(str(path))
    frames = islice(reader, int(CLIP_SECONDS * reader.fps))
    driven = video_to_motion(frames, reader.fps, embedded_tracker())
    meshes = on_portrait(driven.motion, portrait, FaceModel.default())[1]
    return meshes[torch.linspace(0, len(meshes) - 1, min(CLIP_FRAMES, len(meshes))).round().long()]


def print_table(rows: dict[str, dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"{'':<34}" + "".join(f"{title:>12}" for title in rows))
    for name in names:
        values = (f"{row[name]:>12,.4g}" if name in row else f"{'':>12}" for row in rows.values())
        print(f"{name:<34}" + "".join(values))


if __name__ == "__main__":
    main()
