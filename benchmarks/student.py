"""A student against its teacher, in one table: size, cost, speed, memory, and how near its pictures come to the teacher's.

::

    python benchmarks/student.py STUDENT [--teacher FOLDER] [--clips FOLDER] [--threads 2]

STUDENT is a folder or Hub id that ``superface distill`` made. Multiply-accumulates are what torch's ``FlopCounterMode`` counts
(convolutions and matrix products) from a mesh to a frame, divided by two. Speeds are those of batch 1, from a mesh to a uint8
picture; "with everything" is audio-to-lip, paste-back into the student's own picture and mp4 encoding. With ``--clips`` (a
folder of ``val_*.mp4``), the PSNR is measured on the motions of these clips, put on the student's portrait.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import pipeline

from superface_hf import FaceModel, SuperFaceStudentModel, SuperFaceTeacherModel
from superface_hf.demo import SPEECH
from superface_hf.drivers.video import video_to_motion
from superface_hf.hub import embedded_tracker, weights_folder
from superface_hf.media import VideoReader
from superface_hf.pipelines.paste_back import as_pictures, cut_out
from superface_hf.pipelines.portrait import Portrait, stored_portrait
from superface_hf.pipelines.retarget import Changes, Retargeter
from superface_hf.training.student_report import closeness, rendered

SECONDS = 6.0  # of each speed
CLIP_FRAMES, CLIP_SECONDS = 12, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", help="folder or Hub id")
    parser.add_argument("--teacher", default=str(weights_folder("teacher")))
    parser.add_argument("--clips", type=Path, help="folder of val_*.mp4")
    parser.add_argument("--count", type=int, default=8, help="clips at most (default: 8)")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    student = SuperFaceStudentModel.from_pretrained(args.student, dtype=torch.float32).eval()
    teacher = SuperFaceTeacherModel.from_pretrained(args.teacher, dtype=torch.float32).eval()
    for model in (student, teacher):
        model.to(memory_format=torch.channels_last)
    portrait = stored_portrait(student, FaceModel.default())
    rows = {"student": student_row(student, args.student), "teacher": teacher_row(teacher, portrait)}
    rows["student"]["MACs, share of the teacher's"] = (
        rows["student"]["MMACs a frame"] / rows["teacher"]["MMACs a frame"]
    )
    rows["student"] |= {"frames/s with everything": speed_with_everything(student)}
    if args.clips:
        rows["student"] |= nearness(student, teacher, portrait, args.clips, args.count)
    print_table(rows)
    print(f"({torch.get_num_threads()} threads; batch 1; peak memory of the whole process "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB)")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


@torch.inference_mode()
def student_row(student: SuperFaceStudentModel, source: str) -> dict[str, float]:
    prepared, mesh = student.prepare(), student.landmarks[None]
    row = _cost(student, lambda: student.render(prepared, mesh))
    if Path(source, "model.safetensors").exists():
        row["checkpoint MB"] = Path(source, "model.safetensors").stat().st_size / 1e6
    return row


@torch.inference_mode()
def teacher_row(teacher: SuperFaceTeacherModel, portrait: Portrait) -> dict[str, float]:
    mesh = torch.from_numpy(portrait.landmarks)[None]
    source = cut_out(portrait.picture, portrait.crop, teacher.config.image_size)
    prepared = teacher.prepare(source, mesh)
    return _cost(teacher, lambda: teacher.render(prepared, mesh))


def _cost(model: torch.nn.Module, work: Callable[[], Any]) -> dict[str, float]:
    with FlopCounterMode(display=False) as counter:
        work()
    row = {
        "parameters (M)": sum(p.numel() for p in model.parameters()) / 1e6,
        "MMACs a frame": counter.get_total_flops() / 2e6,
    }
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            as_pictures(work().frames)
            frames, start, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start < SECONDS:
                as_pictures(work().frames)
                frames += 1
        row[f"frames/s {name}"] = frames / (time.perf_counter() - start)
        row[f"CPU ms a frame {name}"] = 1e3 * (time.process_time() - cpu) / frames
    return row


def speed_with_everything(student: SuperFaceStudentModel) -> float:
    """Speech to an mp4 of the full picture."""
    pipe: Any = pipeline("talking-face", model=student, device="cpu")  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        pipe.write(Path(folder) / "warm.mp4", motion="blink", progress=False)
        start = time.perf_counter()
        motion = pipe.write(Path(folder) / "out.mp4", audio=str(SPEECH), progress=False)
        return len(motion) / (time.perf_counter() - start)


def nearness(
    student: SuperFaceStudentModel, teacher: SuperFaceTeacherModel, portrait: Portrait, clips: Path, count: int
) -> dict[str, float]:
    """PSNR to the teacher on motions of other people's clips."""
    source = cut_out(portrait.picture, portrait.crop, teacher.config.image_size)
    scores = []
    with torch.inference_mode():
        prepared = teacher.prepare(source, torch.from_numpy(portrait.landmarks)[None])
        for path in sorted(clips.glob("val_*.mp4"))[:count]:
            meshes = clip_meshes(path, portrait)
            targets = np.concatenate([as_pictures(teacher.render(prepared, part).frames) for part in meshes.split(2)])
            scores.append(closeness(rendered(student, meshes), targets, meshes).mean(0))
    whole, boxes = np.mean(scores, 0)
    worst = np.min(scores, 0)
    return {
        "PSNR to the teacher (dB)": whole, "PSNR, eyes and mouth (dB)": boxes,
        "worst clip (dB)": worst[0], "worst clip, eyes and mouth (dB)": worst[1], "clips": len(scores),
    }  # fmt: skip


def clip_meshes(path: Path, portrait: Portrait) -> Tensor:
    """Some meshes of a clip's motion on the portrait, as the pipeline would render them."""
    reader = VideoReader(str(path))
    frames = islice(reader, int(CLIP_SECONDS * reader.fps))
    driven = video_to_motion(frames, reader.fps, embedded_tracker())
    retarget = Retargeter(portrait, Changes.checked(True, None, None, reader.fps), FaceModel.default())
    meshes = retarget(driven.motion)[1]
    return meshes[torch.linspace(0, len(meshes) - 1, min(CLIP_FRAMES, len(meshes))).round().long()]


def print_table(rows: dict[str, dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"{'':<34}" + "".join(f"{title:>12}" for title in rows))
    for name in names:
        values = (f"{row[name]:>12,.4g}" if name in row else f"{'':>12}" for row in rows.values())
        print(f"{name:<34}" + "".join(values))


if __name__ == "__main__":
    main()
