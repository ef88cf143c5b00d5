"""``superface train``: settings + a prepared set -> a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import SuperFaceError

EPILOG = """examples:
  superface train teacher --config configs/teacher_base.yaml --prepared .cache/prepared --out runs/teacher
  superface train teacher --config configs/teacher_base.yaml --set schedule.steps=1000 --set loss.temporal=0
  superface train teacher --config runs/teacher/checkpoint/config.yaml --print
  torchrun --nproc_per_node 8 -m superface_hf.cli train teacher --config configs/teacher_large.yaml

A training goes on from the newest checkpoint in its folder. Settings that --config does not name keep their defaults.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("train", help="settings + prepared videos -> a model", description="Trains a model.")
    models = parser.add_subparsers(title="models", required=True, metavar="MODEL")
    teacher = models.add_parser(
        "teacher",
        help="the renderer: portrait + meshes -> frames",
        description="Trains the teacher. Needs the extra [train].",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    teacher.add_argument("--config", type=Path, help="YAML settings (default: those of teacher_base.yaml)")
    teacher.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting, such as schedule.steps=100; may be repeated",
    )  # fmt: skip
    teacher.add_argument("--out", help="folder for checkpoints and logs (run.out)")
    teacher.add_argument("--prepared", help="folder or Hub id of a prepared set (data.prepared)")
    teacher.add_argument("--until", type=int, metavar="STEP", help="stop after this step, to go on another time")
    teacher.add_argument("--print", action="store_true", help="print all settings as YAML instead of training")
    teacher.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    try:
        from ..training.teacher.config import TeacherTrainingConfig
        from ..utils.settings import as_yaml, load_settings
    except ImportError as error:
        raise _missing(error) from error
    config = load_settings(TeacherTrainingConfig, options.config, options.changes, _named(options))
    if options.print:
        print(as_yaml(config), end="")
        return
    try:
        from ..training.teacher.trainer import TeacherTrainer
    except ImportError as error:
        raise _missing(error) from error
    trainer = TeacherTrainer(config)
    trainer.train(options.until)
    if trainer.accelerator.is_main_process:
        print(config.out / "checkpoint" / "averaged")


def _named(options: argparse.Namespace) -> dict[str, str]:
    """Settings that have an option of their own."""
    named = {"run.out": options.out, "data.prepared": options.prepared}
    return {key: value for key, value in named.items() if value is not None}


def _missing(error: ImportError) -> SuperFaceError:
    return SuperFaceError(f"Training needs the extra [train]: pip install 'superface-hf[train]' ({error}).")
