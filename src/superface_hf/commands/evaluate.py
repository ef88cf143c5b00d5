"""``superface evaluate``: renderer -> table, JSON, plots and contact sheets."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..utils.device import AUTO, DEVICE_HELP, choose_device
from .output import add_json_option, print_result

PROTOCOLS = ("self", "cross", "degraded", "regions", "colour", "turns")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="renderer -> measured quality",
        description="Measures a renderer on validation data.",
    )
    renderers = parser.add_subparsers(title="renderers", required=True, metavar="RENDERER")
    teacher = renderers.add_parser(
        "teacher",
        help="measure a teacher against the plain mesh flow, the untrained layers and the unchanged source",
        description="Measures a teacher against the plain mesh flow, the untrained layers and the unchanged source, in one "
        "run. Needs the extras [metrics] and [train].",
        epilog="protocols: self (a clip's first frame becomes its later frames), degraded (the same from a degraded first "
        "frame), cross (portraits moved by clips), regions (what else moves when one region is driven), colour (whether "
        "colours stay where nothing moves), turns (heads turn by 10, 20 and 30 degrees: hair, outline, and whether the world "
        "behind stays as it is)",
    )
    teacher.add_argument("--model", help="a folder or Hub id (default: the embedded teacher)")
    teacher.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("SUPERFACE_DATA"),
        help="folder with clips/val_*.mp4 and portraits_large.parquet (default: $SUPERFACE_DATA)",
    )
    teacher.add_argument("--out", type=Path, required=True, help="folder to write to")
    teacher.add_argument(
        "--protocols",
        nargs="+",
        choices=PROTOCOLS,
        default=list(PROTOCOLS),
        metavar="NAME",
        help="protocols (default: all)",
    )
    teacher.add_argument("--clips", type=int, help="at most so many clips (default: all)")
    teacher.add_argument(
        "--frames", type=int, default=24, help="target frames of each clip, evenly spread (default: 24)"
    )
    teacher.add_argument(
        "--window", type=int, default=8, help="consecutive frames of each clip for flicker (default: 8)"
    )
    teacher.add_argument("--portraits", type=int, default=20, help="number of portraits (default: 20)")
    teacher.add_argument("--batch", type=int, default=4, help="frames rendered at a time (default: 4)")
    teacher.add_argument(
        "--landmarker",
        type=Path,
        metavar="FILE",
        help="MediaPipe's face_landmarker.task, which measures expressions (default: that in $SUPERFACE_MODELS or in the "
        "data's models/, else the embedded tracker measures)",
    )
    teacher.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    teacher.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    add_json_option(teacher)
    teacher.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..errors import MediaError

    if options.data is None:
        raise MediaError("There is no validation data: say where it is with --data FOLDER or SUPERFACE_DATA.")

    from ..evaluation.expression import find_landmarker
    from ..evaluation.teacher import EvaluationSettings, evaluate_teacher, load_teacher
    from ..hub import weights_folder
    from ..media import check_writable
    from ..models.embedded import embedded_tracker

    settings = EvaluationSettings(
        data=Path(options.data),
        out=options.out,
        protocols=tuple(options.protocols),
        clips=options.clips,
        frames=options.frames,
        window=options.window,
        portraits=options.portraits,
        dtype=options.dtype,
        batch=options.batch,
        landmarker=options.landmarker or find_landmarker(Path(options.data)),
    )
    device = choose_device(options.device)
    settings.check_data()
    target = check_writable(settings.out / "results.json")
    model = options.model or str(weights_folder("teacher"))
    teacher = load_teacher(model, device)
    tracker = embedded_tracker(device)
    evaluation = evaluate_teacher(teacher, tracker, settings)
    evaluation.save(target, settings, model)
    where = f"{evaluation.seconds:.0f} s; figures in {target}, plots and contact sheets beside it."
    print_result(options, f"{evaluation}\n\n{where}", results=target, seconds=evaluation.seconds)
