"""``superface generate``: photo (or a student) + speech, video or motion -> mp4."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import MediaError
from .options import (
    add_portrait_options,
    add_restorer_option,
    add_speech_options,
    blendshape,
    load_pipeline,
    named_pair,
    speech_of,
    which_face,
)
from .output import add_json_option, print_result
from .portrait import add_group_options, group_of

NO_PHOTO = (
    "A picture of the person is needed: superface generate photo.jpg --video driving.mp4 -o out.mp4. Only a student brings its "
    "own (--model with the folder or Hub id of one), and speech alone gets a made-up face; a video gets another mouth with "
    "superface dub."
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="photo (or a student) + speech, video or motion -> mp4",
        description="Animates a photograph. With speech beside a video or motion, the mouth is the speech's and the rest the "
        "video's or motion's; with speech alone, the head sways and nods, and the eyes blink. A student brings its own "
        "picture: superface generate --model org/superface-student-alice --audio speech.wav -o out.mp4",
    )
    parser.add_argument(
        "photo",
        nargs="?",
        help="picture with a face: a path or URL; none where --model is a student, who has its own. With speech and neither "
        "photo nor video, a face is made up that suits the voice",
    )
    add_speech_options(parser, required=False)
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--video", help="driving video: a path or URL; its sound is carried over if there is no speech")
    driver.add_argument(
        "--motion", help="a .safetensors motion, or a bundled one: nod, look_around, blink, smile, speak"
    )
    parser.add_argument(
        "--driving-face",
        type=which_face,
        default="largest",
        help="the person to imitate, if the driving video shows several: "
        '"largest" (default), "only" (refuse to choose), "speaking" (whose mouth moves most, and with the sound), or an '
        "index, 0 the largest in the first frame that shows a face",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="the mp4 to write (with --background transparent: .webm, .mov, or a folder)",
    )
    _add_accompaniment(parser)
    parser.add_argument("--seed", type=int, help="seed of the idle motion (default: 0)")
    parser.add_argument(
        "--set",
        dest="edit",
        type=blendshape,
        action="append",
        metavar="NAME=VALUE",
        help="add an ARKit blendshape, 0 to 1",
    )
    parser.add_argument(
        "--region",
        type=named_pair,
        action="append",
        metavar="REGION=MOTION",
        help="take mouth, eyes, brows, gaze or head from another motion",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--absolute",
        action="store_true",
        help="take the driving pose and expression as they are, also where the driver looks aside or grins all the time; by "
        "default the head moves as the driver's does from their calmest moment, and only lips are taken as they are",
    )
    how.add_argument(
        "--from-first-frame",
        action="store_true",
        help="add what changes since the driver's first frame: when that frame shows the same expression as the photo",
    )
    parser.add_argument("--fps", type=float, help="frame rate of the result (default: the driver's)")
    parser.add_argument(
        "--crop", action="store_true", help="write the square crop around the face, not the full picture"
    )
    parser.add_argument(
        "--background",
        metavar="WHAT",
        help='behind the person: "transparent" (into a .webm or .mov file, or a folder of PNG pictures), "blur", a colour such '
        'as "#20304a", a picture, or a video',
    )
    parser.add_argument(
        "--restore",
        type=float,
        metavar="FIDELITY",
        help="give the face of every frame detail, from 0 (detail of the restorer's codebook) to 1 (closest to the frame); "
        "takes about a second a frame on a CPU",
    )
    add_restorer_option(parser)
    add_group_options(parser)
    add_portrait_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def _add_accompaniment(parser: argparse.ArgumentParser) -> None:
    """Add the options for head, eyes and brows when only speech drives the result."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--no-idle", action="store_true", help="with speech alone: keep head, eyes and brows still")
    how.add_argument(
        "--diffusion",
        action="store_true",
        help="with speech alone: move head, eyes and brows by the motion diffusion; the four options below do so too",
    )
    parser.add_argument("--style", help="how widely the face moves: calm, usual or lively")
    parser.add_argument(
        "--emotion",
        type=emotion,
        action="append",
        metavar="NAME=VALUE",
        help="add happiness=0.6, anger, surprise; or, with --text, the Hub id or folder of a text classifier that finds the "
        "text's emotion",
    )
    parser.add_argument("--strength", type=float, default=1.0, help="how far head and brows go, 0 to 2 (default: 1)")
    parser.add_argument("--guidance-scale", type=float, help="how closely motion follows the sound (default: 2)")


def emotion(text: str) -> tuple[str, float] | str:
    """Parse ``happiness=0.6`` into a name and a strength; a name alone has strength 1. A text classifier stays as it is."""
    from ..drivers.mood import is_classifier

    if is_classifier(text):
        return text
    name, equals, value = text.partition("=")
    try:
        return name, float(value) if equals else 1.0
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"NAME or NAME=VALUE, such as happiness=0.6, not {text!r}") from error


def emotion_of(options: argparse.Namespace) -> dict[str, float] | str | None:
    """Return the pipeline's ``emotion``: strengths by name, or one text classifier."""
    said = options.emotion
    if not said:
        return None
    if any(isinstance(each, str) for each in said):
        if len(said) > 1:
            options.refuse("--emotion takes one text classifier, or emotions by name, not both")
        return str(said[0])
    return dict(said)


def run(options: argparse.Namespace) -> None:
    from ..animation.retargeting import as_motion
    from ..layers.background import TRANSPARENT, Background
    from ..media import check_transparent_path, check_video_path, load_picture
    from ..models.restorer.fidelity import check_fidelity

    if not any((options.audio, options.text, options.video, options.motion)):
        options.refuse("one of --audio, --text, --video and --motion is needed")
    # What can be checked quickly is checked before the models are loaded.
    (check_transparent_path if options.background == TRANSPARENT else check_video_path)(options.output)
    if options.background is not None:
        Background(options.background)
    if options.restore is not None:
        check_fidelity(options.restore)
    makes_up = options.photo is None and options.video is None and bool(options.audio or options.text)
    group = group_of(options)
    if group and not makes_up:
        raise MediaError("--presentation, --age and --tone are of a made-up face: leave the photo and the video out.")
    if options.photo is None and options.model is None and not makes_up:
        raise MediaError(NO_PHOTO)
    picture = None if options.photo is None else load_picture(options.photo)
    motion = as_motion(options.motion) if options.motion else None
    regions = {region: as_motion(other) for region, other in options.region or []}
    speech, mood = speech_of(options), emotion_of(options)
    pipe = load_pipeline(options)
    if picture is None and not makes_up and not pipe.renderer.brings_portrait:
        raise MediaError(NO_PHOTO)
    motion = pipe.write(
        options.output,
        picture,
        video=options.video,
        motion=motion,
        **speech,
        edit=dict(options.edit or []),
        regions=regions,
        relative=False if options.absolute else True if options.from_first_frame else "auto",
        idle="diffusion" if options.diffusion else not options.no_idle,
        style=options.style,
        emotion=mood,
        strength=options.strength,
        guidance_scale=options.guidance_scale,
        seed=options.seed,
        face=options.face,
        driving_face=options.driving_face,
        paste_back=not options.crop,
        restore=options.restore,
        background=options.background,
        fps=options.fps,
        portrait=group or None,
    )
    print_result(options, options.output, output=options.output, frames=len(motion), fps=motion.fps)
