"""The ``superface`` command: thin over the Python API.

Exit status: 0 done, 1 the input cannot be used (one line on stderr says why), 2 the command was not understood;
3 from ``inspect``: the file is not marked as AI-generated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .commands import demo, distill, dub, edit, evaluate, export, generate, inspect, prepare, push, serve, track, train
from .errors import SuperFaceError

COMMANDS = (generate, dub, track, edit, demo, prepare, train, distill, evaluate, export, inspect, push, serve)

EPILOG = """examples:
  superface generate photo.jpg --audio speech.wav -o out.mp4
  superface generate photo.jpg --video head.mp4 --audio speech.wav -o out.mp4
  superface generate photo.jpg --video driving.mp4 -o out.mp4
  superface generate photo.jpg --motion nod -o out.mp4
  superface dub talk.mp4 --audio other_language.wav -o out.mp4
  superface track driving.mp4 -o motion.safetensors
  superface edit photo.jpg --set jawOpen=0.4 --set mouthSmileLeft=0.6 -o out.png
  superface distill --portrait alice.jpg --name alice -o alice-student
  superface export alice-student -o alice.onnx
  superface inspect out.mp4
  superface push teacher org/name --private
  superface demo
  superface serve --port 7860
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = build_parser().parse_args(arguments)
    try:
        status = options.run(options)
    except SuperFaceError as error:
        print(f"superface: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("superface: stopped.", file=sys.stderr)
        return 130
    return status or 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="superface",
        description="Make a photograph speak and move: from speech, a driving video, a saved motion, or sliders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"superface-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
