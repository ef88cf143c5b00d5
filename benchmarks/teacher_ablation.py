"""Measure what each part of the teacher contributes: short equal trainings, each without one part; and the embedded teacher
with parts switched off, which shows how much it relies on them.

::

    python benchmarks/teacher_ablation.py --data $SUPERFACE_DATA --prepared .cache/prepared --steps 250

Every variant starts from the same seed and sees the same pairs, at 256 pixels so that it takes minutes. The restorer learns
first; where no source is degraded (without SSR) it has nothing to learn. Trainings that are done are not repeated. Needs the
extras ``[train]`` and ``[metrics]``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from superface_hf import SuperFaceTeacherModel
from superface_hf.evaluation.teacher import EvaluationSettings, evaluate_teacher, load_teacher
from superface_hf.hub import weights_folder
from superface_hf.models.embedded import embedded_tracker
from superface_hf.training.teacher.config import TeacherTrainingConfig
from superface_hf.training.teacher.trainer import TeacherTrainer
from superface_hf.utils.settings import load_settings

VARIANTS: dict[str, dict[str, str]] = {
    "full": {},
    "without late landmarks": {"model.overrides.late_landmarks": "false"},
    "without early mesh image": {"model.overrides.early_mesh": "false"},
    "without SSR": {"data.degradation.share": "0"},
    "without MTM": {"data.masking.share": "0"},
}
# What differs from the embedded teacher's configuration; the restorer has no setting.
SWITCHED_OFF: dict[str, dict[str, Any]] = {
    "nothing": {},
    "late landmarks": {"late_landmarks": False},
    "early mesh image": {"early_mesh": False},
    "restorer": {},
}
TABLES = ("trained", "off")
COLUMNS = ("PSNR", "PSNR boxes", "perceptual", "keypoints %", "degraded: perceptual", "cross-talk %")


def train(name: str, args: argparse.Namespace) -> Path:
    """Return the folder of a variant's weights, after training it if it does not exist."""
    out = args.out / name.replace(" ", "_")
    settings = {
        "model.overrides.image_size": str(args.size),
        "schedule.steps": str(args.restoration + args.steps),
        "schedule.restoration": str(args.restoration),
        "schedule.warmup": "20",
        "schedule.decay": str(args.steps // 2),
        # A short training is averaged over its last steps only.
        "optimizer.ema": "0.97",
        # After so few steps a discriminator is not useful yet.
        "loss.adversarial": "0",
        "loss.matching": "0",
        "run.compile": "false",
        "run.validate_every": "0",
        "run.trackers": "[]",
        "run.out": str(out),
        "data.prepared": str(args.prepared),
        **VARIANTS[name],
    }
    changes = [f"{key}={value}" for key, value in settings.items()]
    TeacherTrainer(load_settings(TeacherTrainingConfig, args.config, changes)).train()
    return out / "checkpoint" / "averaged"


@torch.no_grad()
def switched_off(part: str) -> SuperFaceTeacherModel:
    """Return the embedded teacher with one of its parts switched off."""
    folder, changes = weights_folder("teacher"), SWITCHED_OFF[part]
    teacher = SuperFaceTeacherModel.from_pretrained(folder, dtype=torch.float32, **changes).eval()
    if part == "restorer":
        for parameter in teacher.restorer.head.parameters():
            parameter.zero_()
    return teacher.to(memory_format=torch.channels_last)


def measure(teacher: SuperFaceTeacherModel, out: Path, args: argparse.Namespace) -> dict[str, float]:
    """Return one row of the table. Cross-talk is the mean over pairs of regions, measured by optical flow, since a
    tracker's own correlations would hide differences."""
    settings = EvaluationSettings(
        Path(args.data), out, ("self", "degraded", "regions"), frames=args.frames, portraits=4
    )
    result: dict[str, Any] = evaluate_teacher(teacher, embedded_tracker(), settings).protocols
    own, degraded = result["self"]["mean"]["teacher"], result["degraded"]["mean"]["teacher"]
    talk = [share for row in result["regions"]["optical_cross_talk"].values() for share in row.values()]
    figures = (own["psnr"], own["psnr_boxes"], own["perceptual"], own["keypoints"], degraded["perceptual"])
    return dict(zip(COLUMNS, (*figures, 100 * sum(talk) / len(talk)), strict=True))


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}\n{'':<26}" + "".join(f"{column:>22}" for column in COLUMNS))
    for name, row in rows.items():
        print(f"{name:<26}" + "".join(f"{row[column]:>22.3f}" for column in COLUMNS), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="clips/ and portraits")
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"), help="from `superface prepare`")
    parser.add_argument("--config", type=Path, default=Path("configs/teacher_base.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder for weights and results")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="which of the two to make")
    parser.add_argument("--restoration", type=int, default=150, help="first steps, for the restorer alone")
    parser.add_argument("--steps", type=int, default=250, help="steps of the whole, for each variant")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--frames", type=int, default=8, help="targets a validation clip")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    args.out.mkdir(parents=True, exist_ok=True)
    if "trained" in args.tables:
        weights = {name: train(name, args) for name in VARIANTS}
        rows = {name: measure(load_teacher(str(w)), w.parent / "evaluation", args) for name, w in weights.items()}
        budget = {name: getattr(args, name) for name in ("restoration", "steps", "size", "frames")}
        print_table(f"Trained without a part; {budget}, 8 pairs a step:", rows)
        (args.out / "trained.json").write_text(json.dumps({"budget": budget, "rows": rows}, indent=1))
    if "off" in args.tables:
        folder = args.out / "off"
        rows = {part: measure(switched_off(part), folder / part.replace(" ", "_"), args) for part in SWITCHED_OFF}
        print_table(f"The embedded teacher, switched off; {args.frames} targets a clip:", rows)
        (args.out / "off.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
