"""``superface distill``: a portrait (and videos of the same person) -> a student of that person."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ..errors import SuperFaceError, install_command
from .options import which_face
from .output import add_json_option, print_result

EPILOG = """examples:
  superface distill --portrait alice.jpg --name alice -o alice-student
  superface distill --portrait alice.jpg --name alice --video alice.mp4 -o alice-student --minutes 60
  superface distill --portrait alice.jpg --name alice -o alice-student --set student.window_channels=24
  accelerate launch -m superface_hf.cli distill --portrait alice.jpg --name alice -o alice-student --minutes 5

A run that was stopped continues when it is started again. Only distill people who agreed to it.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "distill",
        help="a portrait -> a small model of that person, which renders in real time",
        description="Distills the teacher into a student of one person. Needs the extra [train].",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--portrait", required=True, help="a picture of the person: a path or URL")
    parser.add_argument("--name", required=True, help="the person's name, for the model card")
    parser.add_argument(
        "--video", dest="videos", action="append", default=[], help="a video of the same person; may be repeated"
    )
    parser.add_argument("-o", "--out", required=True, help="folder for the student")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="minutes for rendering and training together (default: 20)"
    )
    parser.add_argument("--teacher", help="a teacher: a Hub id or folder (default: the embedded one)")
    parser.add_argument("--face", type=which_face, default="only", help='"only", "largest", or an index, 0 the largest')
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
        help="change a setting, such as frames=1000 or loss.perceptual=0; may be repeated",
    )  # fmt: skip
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    try:
        from ..training.student.config import DistillationConfig
        from ..training.student.distillation import distill
        from ..utils.settings import load_settings
    except ImportError as error:
        raise SuperFaceError(f"Distilling needs the extra [train]: {install_command('train')} ({error}).") from error
    names = ("portrait", "name", "out", "videos", "minutes", "teacher", "face")
    config = load_settings(DistillationConfig, None, options.changes, {name: getattr(options, name) for name in names})
    report = distill(config)
    if report is not None:
        print_result(options, f"{report}\n{config.folder}", student=config.folder, **asdict(report))
