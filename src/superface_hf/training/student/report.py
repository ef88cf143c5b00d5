"""Measure a student against its teacher: numbers, a contact sheet, and its model card."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ...animation.portrait import stored_portrait
from ...face_model.linear import FaceModel
from ...face_model.topology import eye_boxes, mouth_box
from ...layers.motion import Window
from ...layers.paste_back import to_uint8
from ...metrics.image import box_mask, psnr
from ...models.student.modeling_student import SuperFaceStudentModel
from ...provenance.marks import picture_marks
from ...renderers.student import StudentRenderer
from .scene import Scene
from .teacher_frames import TeacherFrames

SHEET = "teacher_and_student.jpg"
SHEET_ROWS, SHEET_CELL = 8, 256
DATASET = "held-out motions"


@dataclass(frozen=True)
class StudentReport:
    """What was measured of a student.

    Attributes:
        psnr, psnr_boxes: mean over held-out frames, to the teacher's, in dB: whole pictures, and the boxes of eyes and mouth.
        flow_psnr, flow_psnr_boxes: the same of the student before training, which is the untrained layers.
        by_motion: motion -> its means (whole, boxes).
        mmacs: millions of multiply-accumulates a frame (torch's FlopCounterMode / 2, from meshes to frames).
        teacher_mmacs: the same of the teacher.
        parameters, megabytes: of the student; the file with all that it stores.
        frames_per_second: batch 1 on this machine, to full pictures in uint8.
    """

    psnr: float
    psnr_boxes: float
    flow_psnr: float
    flow_psnr_boxes: float
    by_motion: dict[str, tuple[float, float]]
    mmacs: float
    teacher_mmacs: float
    parameters: int
    megabytes: float
    frames_per_second: float
    threads: int

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.__dict__, indent=1))

    def __str__(self) -> str:
        lines = [
            f"PSNR to the teacher     {self.psnr:6.2f} dB, eyes and mouth {self.psnr_boxes:6.2f} dB",
            f"the untrained layers    {self.flow_psnr:6.2f} dB, eyes and mouth {self.flow_psnr_boxes:6.2f} dB",
            f"multiply-accumulates    {self.mmacs:6.1f} M a frame, {self.mmacs / self.teacher_mmacs:.2%} of the teacher's",
            f"parameters              {self.parameters / 1e6:6.2f} M, {self.megabytes:.1f} MB with all that it stores",
            f"speed                   {self.frames_per_second:6.1f} frames a second with {self.threads} threads",
        ]
        return "\n".join(lines)


@torch.inference_mode()
def rendered(student: SuperFaceStudentModel, landmarks: Tensor, windows: Tensor, batch: int = 4) -> np.ndarray:
    """Return the meshes (N, 478, 3) in their windows (N, 3), composed there: (N, S, S, 3) uint8."""
    prepared, scene = student.prepare(), Scene.stored(student)
    parts = []
    for driving, places in zip(landmarks.to(student.device).split(batch), windows.split(batch), strict=True):
        places = places.to(student.device)
        output = student.render(prepared, driving, Window(places[:, :2], places[:, 2]))
        parts.append(to_uint8(scene.compose(output.rendered)[0]))
    return np.concatenate(parts)


def closeness(pictures: np.ndarray, targets: np.ndarray, landmarks: Tensor) -> np.ndarray:
    """Return the PSNR of (N, S, S, 3) uint8 pictures, whole and in the boxes of eyes and mouth, of landmarks (N, 478, 3) in the
    windows: (N, 2)."""
    size = pictures.shape[1]
    scores = []
    for picture, target, points in zip(pictures, targets, (landmarks.numpy() + 1) * size / 2, strict=True):
        mask = box_mask([mouth_box(points), *eye_boxes(points)], size, size)
        a, b = picture.astype(np.float32) / 255, target.astype(np.float32) / 255
        scores.append((psnr(a, b), psnr(a, b, mask)))
    return np.array(scores)


def measure_student(
    student: SuperFaceStudentModel,
    untrained: SuperFaceStudentModel,
    held_out: TeacherFrames,
    names: list[str],
    teacher_mmacs: float,
    folder: Path,
) -> StudentReport:
    """Measure a student that is saved in ``folder``, and write the contact sheet there.

    Args:
        untrained: the same before training, for comparison.
        names: of the motion of each held-out frame.
        teacher_mmacs: what a frame of the teacher costs.
    """
    targets = held_out.decoded(range(len(held_out))).permute(0, 2, 3, 1).numpy()
    places = held_out.windows
    pictures = rendered(student, held_out.landmarks, places)
    inside = Window(places[:, :2], places[:, 2]).enter(held_out.landmarks)
    scores = closeness(pictures, targets, inside)
    before = closeness(rendered(untrained, held_out.landmarks, places), targets, inside).mean(0)
    by_motion: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, score in zip(names, scores, strict=True):
        by_motion[name].append(score)
    write_sheet(folder / SHEET, targets, pictures)
    whole, boxes = scores.mean(0)
    return StudentReport(
        float(whole), float(boxes), float(before[0]), float(before[1]),
        {name: (float(np.mean(rows, 0)[0]), float(np.mean(rows, 0)[1])) for name, rows in by_motion.items()},
        student_mmacs(student), teacher_mmacs, sum(p.numel() for p in student.parameters()),
        (folder / "model.safetensors").stat().st_size / 1e6, frames_per_second(student), torch.get_num_threads(),
    )  # fmt: skip


@torch.inference_mode()
def student_mmacs(student: SuperFaceStudentModel) -> float:
    """Return the millions of multiply-accumulates from one mesh to one frame."""
    prepared = student.prepare()
    with FlopCounterMode(display=False) as counter:
        student.render(prepared, student.landmarks[None])
    return counter.get_total_flops() / 2e6


@torch.inference_mode()
def frames_per_second(student: SuperFaceStudentModel, seconds: float = 1.0) -> float:
    """Measure frames a second, from one mesh at a time to the full picture in uint8, as the pipeline renders them."""
    ready = StudentRenderer(student).prepare(stored_portrait(student, FaceModel.default()), student.layers)
    driving = student.landmarks[None]
    ready.frames(driving)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        ready.frames(driving)
        count += 1
    return count / (time.perf_counter() - start)


def write_sheet(path: Path, targets: np.ndarray, pictures: np.ndarray) -> None:
    """Write a sheet of evenly chosen frames: teacher | student | four times their difference, two such triples a row."""
    chosen = np.linspace(0, len(targets) - 1, min(len(targets), 2 * SHEET_ROWS)).round().astype(int)
    cells = []
    for index in chosen:
        difference = np.abs(targets[index].astype(int) - pictures[index])
        row = [targets[index], pictures[index], np.clip(4 * difference, 0, 255).astype(np.uint8)]
        small = [Image.fromarray(cell).resize((SHEET_CELL, SHEET_CELL), Image.Resampling.LANCZOS) for cell in row]
        cells.append(np.concatenate([np.asarray(cell) for cell in small], axis=1))
    if len(cells) % 2:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.concatenate(pair, axis=1) for pair in zip(cells[::2], cells[1::2], strict=True)]
    Image.fromarray(np.concatenate(rows)).save(path, quality=88, **picture_marks(path.suffix))


def write_card(
    student: SuperFaceStudentModel, report: StudentReport, folder: Path, made: str, base_model: str | None
) -> None:
    """Write the model card, ``folder/README.md``, with what was measured."""
    from huggingface_hub import EvalResult

    from ...hub import CardFacts, make_card

    name = student.config.person or "somebody"
    measured = (
        ("psnr", "PSNR to the teacher, whole picture (dB)", round(report.psnr, 2)),
        ("psnr", "PSNR to the teacher, eyes and mouth (dB)", round(report.psnr_boxes, 2)),
        ("mmacs", "Multiply-accumulates a frame (millions)", round(report.mmacs, 1)),
    )
    metrics = tuple(
        EvalResult("image-to-video", "motions", DATASET, kind, value, metric_name=title)
        for kind, title, value in measured
    )
    facts = CardFacts(
        made=f"{made} Pictures: teacher, student and four times their difference.\n\n```\n{report}\n```",
        base_model=base_model,
        metrics=metrics,
        person=name,
        pictures=(SHEET,),
    )
    make_card(student, folder.name, facts).save(folder / "README.md")
