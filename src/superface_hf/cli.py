"""The ``superface`` command: thin over the Python API.

Exit status: 0 done, 1 the input cannot be used (one line on stderr says why), 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import SuperFaceError

if TYPE_CHECKING:
    from .motion import Motion

EPILOG = """examples:
  superface generate photo.jpg --audio speech.wav -o out.mp4
  superface generate photo.jpg --video head.mp4 --audio speech.wav -o out.mp4
  superface generate photo.jpg --video driving.mp4 -o out.mp4
  superface generate photo.jpg --motion nod -o out.mp4
  superface dub talk.mp4 --audio other_language.wav -o out.mp4
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
        description="Make a photograph speak and move: from speech, a driving video, a saved motion, or sliders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"superface-hf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_dub(commands)
    _add_track(commands)
    _add_edit(commands)
    _add_demo(commands)
    return parser


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="photo + speech, video or motion -> mp4",
        description="Animates a photograph. With speech beside a video or motion, the mouth is the speech's and the rest the "
        "video's or motion's; with speech alone, the head sways and nods, and the eyes blink.",
    )
    parser.add_argument("photo", help="picture with a face: a path or URL")
    _add_speech(parser, required=False)
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--video", help="driving video: a path or URL; its sound is carried over if there is no speech")
    driver.add_argument(
        "--motion", help="a .safetensors motion, or a bundled one: nod, look_around, blink, smile, speak"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the mp4 to write")
    parser.add_argument("--no-idle", action="store_true", help="with speech alone: keep head, eyes and brows still")
    parser.add_argument("--seed", type=int, help="which of the possible idle motions (default: 0)")
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
    parser.set_defaults(run=_generate, refuse=parser.error)


def _add_dub(commands: Any) -> None:
    parser = commands.add_parser(
        "dub",
        help="video + other speech -> mp4",
        description="Gives a video of a person other words: only the region of the mouth changes. Frames without a face stay "
        "as they are.",
    )
    parser.add_argument("video", help="a path or URL")
    _add_speech(parser, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the mp4 to write")
    _add_portrait_options(parser)
    parser.set_defaults(run=_dub)


def _add_speech(parser: argparse.ArgumentParser, required: bool) -> None:
    speech = parser.add_mutually_exclusive_group(required=required)
    speech.add_argument("--audio", help="speech: a path or URL of a sound or video file")
    speech.add_argument("--text", help="what is to be said; needs --tts")
    parser.add_argument("--tts", metavar="ID", help="a text-to-speech model of the Hub, such as facebook/mms-tts-eng")
    parser.add_argument(
        "--when-short",
        choices=("bounce", "hold", "stop"),
        default="bounce",
        help="what a video or motion does that is shorter than the speech: play backward and forward again, stand still, or "
        "end the result (default: bounce)",
    )


def _add_track(commands: Any) -> None:
    parser = commands.add_parser(
        "track",
        help="video or speech -> motion file",
        description="Saves the motion of the face in a video, or what a face does that speaks.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("video", nargs="?", help="a path or URL")
    source.add_argument("--audio", help="speech instead: a path or URL of a sound or video file")
    parser.add_argument("--fps", type=float, default=25.0, help="frame rate of a motion from speech (default: 25)")
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

    if not any((options.audio, options.text, options.video, options.motion)):
        options.refuse("one of --audio, --text, --video and --motion is needed")
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
        **_speech(options),
        edit=dict(options.edit or []),
        regions=regions,
        relative=not options.absolute,
        idle=not options.no_idle,
        seed=options.seed,
        face=options.face,
        paste_back=not options.crop,
        fps=options.fps,
    )
    print(options.output)


def _dub(options: argparse.Namespace) -> None:
    from .media import check_video_path

    check_video_path(options.output)
    _pipeline(options).write(options.output, video=options.video, face=options.face, **_speech(options))
    print(options.output)


def _speech(options: argparse.Namespace) -> dict[str, Any]:
    """What says what is to be said, checked as far as that goes quickly."""
    from .drivers.text import check_text
    from .media import SoundReader

    if options.text is not None:
        check_text(options.text, options.tts)
    audio = None if options.audio is None else SoundReader(options.audio)
    return {"audio": audio, "text": options.text, "tts": options.tts, "when_short": options.when_short}


def _track(options: argparse.Namespace) -> None:
    from .errors import MediaError
    from .media import check_writable

    if options.output.suffix != ".safetensors":
        raise MediaError(f"A motion cannot be written to {options.output}: its name must end in .safetensors.")
    check_writable(options.output)
    motion, missing = _motion_of_speech(options) if options.audio else _motion_of_video(options)
    motion.save(options.output)
    held = f", {len(missing)} without a face" if missing else ""
    print(f"{options.output}: {len(motion)} frames at {motion.fps:g} fps{held}")


def _motion_of_video(options: argparse.Namespace) -> tuple[Motion, list[int]]:
    from .drivers.video import video_to_motion
    from .hub import embedded_tracker
    from .media import VideoReader
    from .pipelines.progress import progress_bar

    reader = VideoReader(options.video)
    with _quiet_loading():
        tracker = embedded_tracker(options.device)
    with progress_bar("Tracking", reader.frame_count, None) as bar:
        driven = video_to_motion(bar.over(reader), reader.fps, tracker)
    return driven.motion, driven.missing


def _motion_of_speech(options: argparse.Namespace) -> tuple[Motion, list[int]]:
    from .drivers.audio import speech_to_motion
    from .drivers.idle import IdleMotion
    from .hub import embedded_audio_to_lip
    from .media import load_sound

    sound = load_sound(options.audio)
    with _quiet_loading():
        model = embedded_audio_to_lip(options.device)
    return speech_to_motion(sound, options.fps, model, IdleMotion()), []


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
