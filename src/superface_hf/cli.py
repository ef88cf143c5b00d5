"""The ``superface`` command: a thin layer over the Python API.

Exit status: 0 success; 1 the input cannot be used (one line on stderr says why); 2 wrong usage; 3 from ``inspect``: the file
is not marked as AI-generated. A signal gives 128 plus its number and leaves nothing half-written: 129 SIGHUP, 130 Ctrl-C, 143
SIGTERM, and 141 SIGPIPE, when the program that reads the output has ended.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from .commands import (
    batch,
    completion,
    demo,
    distill,
    dub,
    edit,
    evaluate,
    export,
    generate,
    inspect,
    matte,
    portrait,
    prepare,
    push,
    serve,
    track,
    train,
)
from .commands.output import silence
from .errors import SuperFaceError
from .utils.stopping import Stopped, stopping
from .version import __version__

COMMANDS = (
    generate,
    batch,
    dub,
    track,
    edit,
    matte,
    portrait,
    demo,
    prepare,
    train,
    distill,
    evaluate,
    export,
    inspect,
    push,
    serve,
    completion,
)

EPILOG = """examples:
  superface generate photo.jpg --audio speech.wav -o out.mp4
  superface generate photo.jpg --video head.mp4 --audio speech.wav -o out.mp4
  superface generate photo.jpg --video driving.mp4 -o out.mp4
  superface generate photo.jpg --motion nod -o out.mp4
  superface dub talk.mp4 --audio other_language.wav -o out.mp4
  superface track driving.mp4 -o motion.safetensors
  superface edit photo.jpg --set jawOpen=0.4 --set mouthSmileLeft=0.6 -o out.png
  superface matte photo.jpg -o person.png
  superface generate --audio speech.wav -o out.mp4        (a made-up face)
  superface portrait speech.wav -n 4 -o faces/
  superface distill --portrait alice.jpg --name alice -o alice-student
  superface export alice-student -o alice.onnx
  superface batch jobs.csv -o out/
  superface inspect out.mp4
  superface push teacher org/name --private
  superface demo
  superface serve --port 7860
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        with stopping():
            try:
                options = build_parser().parse_args(arguments)
                with silence() if options.quiet else nullcontext():
                    return options.run(options) or 0
            finally:
                sys.stdout.flush()
    except SuperFaceError as error:
        return _report(str(error), 1)
    except Stopped as stop:
        return _report(f"{stop}.", stop.status)
    except KeyboardInterrupt:
        return _report("stopped.", 130)
    except BrokenPipeError:
        # At its end Python would try to print the rest, and report an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a name too long, a disk that is full, a folder without permission
        return _report(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _report("out of memory: close other programs, or use a smaller picture, batch or model.", 1)


def _report(message: str, status: int) -> int:
    print(f"superface: {' '.join(message.split())}", file=sys.stderr)
    return status


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. On a CPU torch raises a plain RuntimeError, so its message is searched for the
    words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


class CommandParser(argparse.ArgumentParser):
    """A parser with the options that every command has. argparse makes the subcommands' parsers of the same class."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            default=argparse.SUPPRESS,  # a subcommand's default would overwrite `superface --quiet COMMAND`
            help="show no progress bars, warnings and notes; the result and errors are still printed",
        )


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of ``superface`` with all of its subcommands."""
    parser = CommandParser(
        prog="superface",
        description="Make a photograph speak and move: from speech, a driving video, a saved motion, or sliders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"superface-hf {__version__}")
    parser.set_defaults(quiet=False, whole_parser=parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
