"""What each part of the teacher's design is worth: short equal trainings, each without one part, measured alike.

::

    python benchmarks/teacher_ablation.py --data $SUPERFACE_DATA --prepared .cache/prepared --steps 250

Every variant starts from the same seed and sees the same pairs, at 256 pixels so that it takes minutes. Trainings that are
done are not repeated. Needs the extras ``[train]`` and ``[metrics]``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from superface_hf.evaluation.teacher import EvaluationSettings, evaluate_teacher, load_teacher
from superface_hf.hub import embedded_tracker
from superface_hf.training.settings import load_settings
from superface_hf.training.teacher import TeacherTrainer
from superface_hf.training.teacher_config import TeacherTrainingConfig

VARIANTS: dict[str, dict[str, str]] = {
    "full": {},
    "without late landmarks": {"model.overrides.late_landmarks": "false"},
    "without early mesh image": {"model.overrides.early_mesh": "false"},
    "without SSR": {"data.degradation.share": "0"},
    "without MTM": {"data.masking.share": "0"},
    "without mesh-flow prior": {"model.overrides.mesh_flow_prior": "false"},
}
COLUMNS = ("PSNR", "PSNR boxes", "perceptual", "keypoints %", "degraded: perceptual", "cross-talk %")


def train(name: str, args: argparse.Namespace) -> Path:
    """The folder of a variant's weights, trained if it is not there yet."""
    out = args.out / name.replace(" ", "_")
    settings = {
        "model.overrides.image_size": str(args.size),
        "schedule.steps": str(args.steps),
        "schedule.warmup": "20",
        "schedule.decay": str(args.steps // 2),
        # A short training is averaged over its last steps only.
        "optimizer.ema": "0.97",
        # A discriminator has nothing to say yet after so few steps.
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


def measure(weights: Path, args: argparse.Namespace) -> dict[str, float]:
    """The row of a variant."""
    settings = EvaluationSettings(
        Path(args.data), weights.parent / "evaluation", ("self", "degraded", "regions"), frames=args.frames, portraits=4
    )
    result: dict[str, Any] = evaluate_teacher(load_teacher(str(weights)), embedded_tracker(), settings).protocols
    own, degraded = result["self"]["mean"]["teacher"], result["degraded"]["mean"]["teacher"]
    talk = [share for row in result["regions"]["cross_talk"].values() for share in row.values()]
    figures = (own["psnr"], own["psnr_boxes"], own["perceptual"], own["keypoints"])
    return dict(zip(COLUMNS, (*figures, degraded["perceptual"], 100 * max(talk)), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="clips/ and portraits")
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"), help="from `superface prepare`")
    parser.add_argument("--config", type=Path, default=Path("configs/teacher_base.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder for weights and ablation.json")
    parser.add_argument("--steps", type=int, default=250, help="of 8 pairs, for each variant")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--frames", type=int, default=8, help="targets a validation clip")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    weights = {name: train(name, args) for name in VARIANTS}
    rows = {name: measure(folder, args) for name, folder in weights.items()}
    print(f"{'':<26}" + "".join(f"{column:>22}" for column in COLUMNS))
    for name, row in rows.items():
        print(f"{name:<26}" + "".join(f"{row[column]:>22.3f}" for column in COLUMNS))
    print(f"({args.steps} steps of 8 pairs at {args.size} px each, {args.frames} targets a clip)")
    budget = {"steps": args.steps, "size": args.size, "frames": args.frames}
    (args.out / "ablation.json").write_text(json.dumps({"budget": budget, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
