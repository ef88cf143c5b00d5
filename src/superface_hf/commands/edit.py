"""``superface edit``: photo + sliders -> picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_portrait_options, blendshape, load_pipeline
from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "edit", help="photo + sliders -> picture", description="Changes an expression in a photo."
    )
    parser.add_argument("photo", help="picture with a face: a path or URL")
    parser.add_argument(
        "--set",
        dest="edit",
        type=blendshape,
        action="append",
        required=True,
        metavar="NAME=VALUE",
        help="add an ARKit blendshape (jawOpen, eyeBlinkLeft, mouthSmileLeft, ...), usually 0 to 1; may be repeated",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .png, .jpg or .webp to write")
    add_portrait_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..media import check_picture_path, load_picture, save_picture

    check_picture_path(options.output)
    picture = load_picture(options.photo)
    clip = load_pipeline(options)(picture, edit=dict(options.edit), face=options.face)
    save_picture(options.output, clip.frames[0])
    print_result(options, options.output, output=options.output)
