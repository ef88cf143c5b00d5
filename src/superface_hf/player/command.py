"""``superface-player``: make an exported student say a sound file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import SuperFaceError
from ..version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 the input cannot be used, 2 the command was not understood."""
    parser = argparse.ArgumentParser(
        prog="superface-player",
        description="Lets a student speak that was exported with `superface export student --runtime onnx -o FOLDER`. Needs "
        "onnxruntime, and no torch.",
    )
    parser.add_argument("student", metavar="FOLDER", help="the exported student")
    parser.add_argument("sound", help="speech: a path or URL of a sound or video file")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.mp4", help="the mp4 to write")
    parser.add_argument("--fps", type=float, help="frames a second (default: the student's own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the idle motion (default: 0)")
    parser.add_argument("--no-idle", action="store_true", help="keep head, eyes and brows still")
    parser.add_argument("--threads", type=int, help="frames drawn at once (default: the number of cores)")
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(arguments)
    from ..drivers.idle import IdleMotion
    from .player import StudentPlayer

    try:
        idle = IdleMotion(options.seed, 0.0 if options.no_idle else 1.0)
        player = StudentPlayer(options.student, options.threads)
        count = player.write(options.output, options.sound, fps=options.fps, idle=idle)
    except SuperFaceError as error:
        print(f"superface-player: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {count} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
