"""``superface track``: video or speech -> motion file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.device import AUTO, DEVICE_HELP, choose_device
from .output import add_json_option, print_result

if TYPE_CHECKING:
    from ..motion import Motion


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "track",
        help="video or speech -> motion file",
        description="Saves the motion of the face in a video, or of a face that speaks.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("video", nargs="?", help="a path or URL")
    source.add_argument("--audio", help="speech instead: a path or URL of a sound or video file")
    parser.add_argument("--fps", type=float, default=25.0, help="frame rate of a motion from speech (default: 25)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ..errors import MediaError
    from ..media import check_writable

    if options.output.suffix != ".safetensors":
        raise MediaError(f"A motion cannot be written to {options.output}: its name must end in .safetensors.")
    check_writable(options.output)
    motion, missing = _motion_of_speech(options) if options.audio else _motion_of_video(options)
    motion.save(options.output)
    held = f", {len(missing)} without a face" if missing else ""
    print_result(
        options,
        f"{options.output}: {len(motion)} frames at {motion.fps:g} fps{held}",
        output=options.output,
        frames=len(motion),
        fps=motion.fps,
        missing=missing,
    )


def _motion_of_video(options: argparse.Namespace) -> tuple[Motion, list[int]]:
    from ..drivers.watching import watch_video
    from ..media import VideoReader
    from ..models.embedded import embedded_tracker
    from ..utils.progress import progress_bar

    reader = VideoReader(options.video)
    tracker = embedded_tracker(choose_device(options.device))
    with progress_bar("Tracking", reader.frame_count, None) as bar:
        driven = watch_video(reader, tracker, frames=bar.over(reader))
    return driven.motion, driven.missing


def _motion_of_speech(options: argparse.Namespace) -> tuple[Motion, list[int]]:
    from ..drivers.audio import speech_to_motion
    from ..drivers.idle import IdleMotion
    from ..media import load_sound
    from ..models.embedded import embedded_audio_to_lip

    sound = load_sound(options.audio)
    model = embedded_audio_to_lip(choose_device(options.device))
    return speech_to_motion(sound, options.fps, model, IdleMotion()), []
