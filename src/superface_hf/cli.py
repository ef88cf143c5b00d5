"""The ``superface`` command: thin over the Python API.

Exit status: 0 done, 1 the input cannot be used (one line on stderr says why), 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import __version__
from .errors import SuperFaceError

EPILOG = """examples:
  superface generate photo.jpg --video driving.mp4 -o out.mp4
  superface generate photo.jpg --motion nod -o out.mp4
  superface track driving.mp4 -o motion.safetensors
  superface edit photo.jpg --set jawOpen=0.4 --set mouthSmileLeft=0.6 -o out.png
  superface demo
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except SuperFaceError as error:
        print(f"superface: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("superface: stopped.", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="superface",
        description="Make a photograph move: from a driving video, a saved motion, or sliders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"superface-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_track(commands)
    _add_edit(commands)
    _add_demo(commands)
    return parser


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate", help="photo + video or motion -> mp4", description="Animates a photograph."
    )
    parser.add_argument("photo", help="picture with a face: a path or URL")
    driver = parser.add_mutually_exclusive_group(required=True)
    driver.add_argument("--video", help="driving video: a path or URL; its sound is carried over")
    driver.add_argument(
        "--motion", help="a .safetensors motion, or a bundled one: nod, look_around, blink, smile, speak"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the mp4 to write")
    parser.add_argument(
        "--set",
        dest="edit",
        type=_blendshape,
        action="append",
        metavar="NAME=VALUE",
        help="add an ARKit blendshape, 0 to 1",
    )
    parser.add_argument(
        "--region",
        type=_pair,
        action="append",
        metavar="REGION=MOTION",
        help="take mouth, eyes, brows, gaze or head from another motion",
    )
    parser.add_argument("--absolute", action="store_true", help="take the driving pose and expression as they are")
    parser.add_argument("--fps", type=float, help="frame rate of the result (default: the driver's)")
    parser.add_argument(
        "--crop", action="store_true", help="write the square crop around the face, not the full picture"
    )
    _add_portrait_options(parser)
    parser.set_defaults(run=_generate)


def _add_track(commands: Any) -> None:
    parser = commands.add_parser(
        "track", help="video -> motion file", description="Tracks a face and saves its motion."
    )
    parser.add_argument("video", help="a path or URL")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.set_defaults(run=_track)


def _add_edit(commands: Any) -> None:
    parser = commands.add_parser(
        "edit", help="photo + sliders -> picture", description="Changes an expression in a photo."
    )
    parser.add_argument("photo", help="picture with a face: a path or URL")
    parser.add_argument(
        "--set",
        dest="edit",
        type=_blendshape,
        action="append",
        required=True,
        metavar="NAME=VALUE",
        help="add an ARKit blendshape (jawOpen, eyeBlinkLeft, mouthSmileLeft, ...), usually 0 to 1; may be repeated",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .png, .jpg or .webp to write")
    _add_portrait_options(parser)
    parser.set_defaults(run=_edit)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser("demo", help="animate a bundled portrait", description="Animates a bundled portrait.")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), help="the folder to write to (default: demo)"
    )
    parser.set_defaults(run=_demo)


def _add_portrait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--face", type=_face, default="largest", help='"largest", "only", or an index, 0 the largest')
    parser.add_argument("--model", help="a renderer: a Hub id or folder (default: the embedded teacher)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def _generate(options: argparse.Namespace) -> None:
    from .media import check_video_path, load_picture
    from .pipelines.retarget import as_motion

    # What can be checked quickly is checked before the models are loaded.
    check_video_path(options.output)
    picture = load_picture(options.photo)
    motion = as_motion(options.motion) if options.motion else None
    regions = {region: as_motion(other) for region, other in options.region or []}
    _pipeline(options).write(
        options.output,
        picture,
        video=options.video,
        motion=motion,
        edit=dict(options.edit or []),
        regions=regions,
        relative=not options.absolute,
        face=options.face,
        paste_back=not options.crop,
        fps=options.fps,
    )
    print(options.output)


def _track(options: argparse.Namespace) -> None:
    from .drivers.video import video_to_motion
    from .errors import MediaError
    from .hub import embedded_tracker
    from .media import VideoReader, check_writable
    from .pipelines.progress import progress_bar

    if options.output.suffix != ".safetensors":
        raise MediaError(f"A motion cannot be written to {options.output}: its name must end in .safetensors.")
    check_writable(options.output)
    reader = VideoReader(options.video)
    with _quiet_loading():
        tracker = embedded_tracker(options.device)
    with progress_bar("Tracking", reader.frame_count, None) as bar:
        driven = video_to_motion(bar.over(reader), reader.fps, tracker)
    driven.motion.save(options.output)
    held = f", {len(driven.missing)} without a face" if driven.missing else ""
    print(f"{options.output}: {len(driven.motion)} frames at {driven.motion.fps:g} fps{held}")


def _edit(options: argparse.Namespace) -> None:
    from .media import check_picture_path, load_picture, save_picture

    check_picture_path(options.output)
    picture = load_picture(options.photo)
    clip = _pipeline(options)(picture, edit=dict(options.edit), face=options.face)
    save_picture(options.output, clip.frames[0])
    print(options.output)


def _demo(options: argparse.Namespace) -> None:
    from .demo import write_demo

    for path in write_demo(options.output):
        print(path)


def _pipeline(options: argparse.Namespace) -> Any:
    from transformers import pipeline

    from .hub import weights_folder

    model = options.model or str(weights_folder("teacher"))
    try:
        with _quiet_loading():
            return pipeline(  # type: ignore[call-overload]
                "talking-face", model=model, device=options.device, dtype=options.dtype
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise SuperFaceError(f"The model {model} cannot be loaded on {options.device}: {error}") from error


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hides transformers' bar for weights that load in a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
    return name, value


def _blendshape(text: str) -> tuple[str, float]:
    name, value = _pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"the value of {name} must be a number, not {value!r}") from None


def _face(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    sys.exit(main())
