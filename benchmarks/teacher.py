"""Measures the embedded teacher against the plain mesh flow on validation clips.

::

    python benchmarks/teacher.py --data $SUPERFACE_DATA

Self-reenactment: the first frame of each clip is the source, later frames are the targets, and a ``Motion`` tracked from
the clip by the embedded tracker drives. "mesh flow" is the same source warped by the same meshes without any network.
Pictures are compared at the clip's own resolution. Needs the extra ``[metrics]``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch.utils.flop_counter import FlopCounterMode

from superface_hf import SuperFaceTeacherModel, SuperFaceTrackerModel
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import eye_boxes, mouth_box
from superface_hf.geometry import Square
from superface_hf.hub import embedded_tracker, weights_folder
from superface_hf.media import VideoReader
from superface_hf.metrics.image import box_mask, psnr
from superface_hf.models.teacher.modeling_teacher import plain_mesh_flow

METHODS = ("source", "mesh flow", "teacher")
COLUMNS = ("PSNR", "SSIM", "PSNR boxes", "SSIM boxes")


def scores(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The four columns of the table for two (H, W, 3) pictures in [0, 1]."""
    whole, similarity = structural_similarity(predicted, target, channel_axis=-1, data_range=1.0, full=True)
    return np.array([psnr(predicted, target), whole, psnr(predicted, target, mask), similarity[mask].mean()])


def resized(pictures: np.ndarray, size: int) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, size, size, 3) uint8."""
    if pictures.shape[1] == size:
        return pictures
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC)) for p in pictures])


@torch.inference_mode()
def evaluate_clip(
    path: Path, count: int, teacher: SuperFaceTeacherModel, tracker: SuperFaceTrackerModel, sheet: Path | None
) -> dict[str, np.ndarray]:
    """Mean scores of each method on one clip."""
    frames = list(VideoReader(path))
    side = min(frames[0].shape[:2])
    chosen = np.unique(np.linspace(0, len(frames) - 1, count + 1).round().astype(int))
    faces = list(tracker.follow(frames))
    chosen = np.array([i for i in chosen if faces[i] is not None])
    pixels = np.stack([faces[i].landmarks for i in chosen])
    landmarks = torch.from_numpy(Square(0, 0, side).to_image(pixels))
    pictures = np.stack([frames[i][:side, :side] for i in chosen])

    face_model = FaceModel.default()
    _, motion = face_model.fit(landmarks, fps=25.0)
    shape = face_model.neutral_shape(landmarks[0], motion[0])
    driving = face_model.animate(shape, motion)[1:]

    size = teacher.config.image_size
    source = torch.from_numpy(resized(pictures[:1], size)).permute(0, 3, 1, 2).float() / 255
    prepared = teacher.prepare(source, landmarks[:1])
    rendered: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    for mesh in driving.split(4):
        outputs = {
            "source": source.expand(len(mesh), -1, -1, -1),
            "mesh flow": plain_mesh_flow(
                source.expand(len(mesh), -1, -1, -1), landmarks[:1].expand(len(mesh), -1, -1), mesh
            ),
            "teacher": teacher.render(prepared, mesh).frames,
        }
        for method, output in outputs.items():
            images = (output.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
            rendered[method].extend(resized(images, side))
    targets = pictures[1:].astype(np.float32) / 255
    masks = [box_mask([mouth_box(p), *eye_boxes(p)], side, side) for p in pixels[1:]]
    if sheet is not None:
        picks = [len(targets) // 4, len(targets) // 2, len(targets) - 1]
        columns = [pictures[0], *(x for i in picks for x in (pictures[1 + i], *(rendered[m][i] for m in METHODS[1:])))]
        Image.fromarray(np.concatenate(columns, axis=1)).save(sheet)
    return {
        method: np.mean(
            [scores(p / 255.0, t, m) for p, t, m in zip(rendered[method], targets, masks, strict=True)], axis=0
        )
        for method in METHODS
    }


def measure_cost(teacher: SuperFaceTeacherModel, seconds: float = 8.0) -> dict[str, float]:
    """Parameters, multiply-accumulates and speed of one rendered frame, the source being prepared once."""
    size = teacher.config.image_size
    landmarks = FaceModel.default().mean[None] * 0.3
    source = torch.rand(1, 3, size, size)
    cost = {"parameters": float(sum(p.numel() for p in teacher.parameters()))}
    with torch.inference_mode():
        prepared = teacher.prepare(source, landmarks)
        with FlopCounterMode(display=False) as counter:
            teacher.render(prepared, landmarks)
        cost["GMACs per frame"] = counter.get_total_flops() / 2e9
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                teacher.render(prepared, landmarks)
                frames, start = 0, time.perf_counter()
                while time.perf_counter() - start < seconds:
                    teacher.render(prepared, landmarks)
                    frames += 1
            cost[f"frames/s {name}"] = frames / (time.perf_counter() - start)
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="folder with clips/val_*.mp4"
    )
    parser.add_argument("--model", type=Path, default=weights_folder("teacher"))
    parser.add_argument("--frames", type=int, default=24, help="target frames a clip, evenly spread")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets: source, then target / flow / teacher")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
    teacher = SuperFaceTeacherModel.from_pretrained(args.model, dtype=torch.float32).eval()
    teacher = teacher.to(memory_format=torch.channels_last)
    tracker = embedded_tracker()

    results = {}
    print(f"{'clip':<10}{'':<11}" + "".join(f"{c:>12}" for c in COLUMNS))
    for path in sorted((Path(args.data) / "clips").glob("val_*.mp4")):
        sheet = args.sheets / f"{path.stem}.png" if args.sheets else None
        results[path.stem] = evaluate_clip(path, args.frames, teacher, tracker, sheet)
        _print_rows(path.stem, results[path.stem])
    mean = {method: np.mean([clip[method] for clip in results.values()], axis=0) for method in METHODS}
    _print_rows("all", mean)
    gains = {name: clip["teacher"] - clip["mesh flow"] for name, clip in results.items()}
    worst = min(gains, key=lambda name: gains[name][0])
    gain = mean["teacher"] - mean["mesh flow"]
    print(f"teacher over mesh flow: {gain[0]:+.2f} dB whole picture, {gain[2]:+.2f} dB in the eye and mouth boxes")
    print(f"worst clip: {worst} {gains[worst][0]:+.2f} dB whole picture")
    cost = measure_cost(teacher)
    print(", ".join(f"{name}: {value:,.2f}" for name, value in cost.items()))
    print(
        f"(MACs by torch's FlopCounterMode / 2; {torch.get_num_threads()} threads, batch 1, {teacher.config.image_size} px)"
    )
    if args.json:
        table = {name: {m: row.tolist() for m, row in clip.items()} for name, clip in {**results, "all": mean}.items()}
        args.json.write_text(json.dumps({"columns": COLUMNS, "clips": table, "cost": cost}, indent=1))


def _print_rows(name: str, clip: dict[str, np.ndarray]) -> None:
    for method in METHODS:
        print(f"{name:<10}{method:<11}" + "".join(f"{value:>12.3f}" for value in clip[method]))
        name = ""


if __name__ == "__main__":
    main()
