"""``superface matte``: photo -> the person on nothing, or the picture without the person."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import which_face
from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "matte",
        help="photo -> the person on a transparent background",
        description="Cuts the person out of a photograph, at its own resolution.",
    )
    parser.add_argument("photo", help="picture with a face: a path or URL")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .png or .webp to write")
    parser.add_argument("--plate", type=Path, metavar="FILE", help="also write the picture without the person")
    parser.add_argument(
        "--face", type=which_face, default="largest", help='"largest", "only", or an index, 0 the largest'
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    import numpy as np

    from ..animation.portrait import find_portrait
    from ..errors import MediaError
    from ..face_model.linear import FaceModel
    from ..layers.portrait import PortraitLayers
    from ..media import check_picture_path, save_picture
    from ..models.embedded import embedded_inpainter, embedded_matte, embedded_tracker

    if check_picture_path(options.output).suffix.lower() not in (".png", ".webp"):
        raise MediaError(f"{options.output} cannot be transparent: name a .png or .webp file.")
    if options.plate is not None:
        check_picture_path(options.plate)
    tracker = embedded_tracker(options.device)
    portrait = find_portrait(options.photo, tracker, FaceModel.default(), options.face, 512)
    layers = PortraitLayers.make(
        portrait.picture,
        portrait.crop.to_pixels(portrait.landmarks),
        embedded_matte(options.device),
        embedded_inpainter(options.device),
        portrait.others,
    )
    person = np.zeros((*portrait.picture.shape[:2], 4), np.uint8)
    person[layers.box] = np.dstack([layers.colours, layers.alpha])
    save_picture(options.output, person)
    if options.plate is not None:
        plate = portrait.picture.copy()
        plate[layers.box] = layers.plate
        save_picture(options.plate, plate)
    written = [path for path in (options.output, options.plate) if path is not None]
    print_result(options, "\n".join(map(str, written)), output=options.output, plate=options.plate)
