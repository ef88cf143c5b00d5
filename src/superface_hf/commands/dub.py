"""``superface dub``: video + other speech -> mp4."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_portrait_options, add_speech_options, load_pipeline, speech_of
from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "dub",
        help="video + other speech -> mp4",
        description="Dubs a video of a person with other speech: only the region of the mouth changes. Frames without a face "
        "stay as they are.",
    )
    parser.add_argument("video", help="a path or URL")
    add_speech_options(parser, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the mp4 to write")
    add_portrait_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..media import check_video_path

    check_video_path(options.output)
    pipe = load_pipeline(options)
    motion = pipe.write(options.output, video=options.video, face=options.face, **speech_of(options))
    print_result(options, options.output, output=options.output, frames=len(motion), fps=motion.fps)
