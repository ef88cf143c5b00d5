"""Options that several subcommands share, and the pipeline that they select."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import SuperFaceError
from ..utils.device import AUTO, DEVICE_HELP, DTYPE_HELP, DTYPES, choose_device


def add_speech_options(parser: argparse.ArgumentParser, required: bool) -> None:
    speech = parser.add_mutually_exclusive_group(required=required)
    speech.add_argument("--audio", help="speech: a path or URL of a sound or video file")
    speech.add_argument("--text", help="the text to speak; needs --tts")
    parser.add_argument("--tts", metavar="ID", help="a text-to-speech model of the Hub, such as facebook/mms-tts-eng")
    parser.add_argument(
        "--articulation",
        type=float,
        default=1.0,
        metavar="STRENGTH",
        help="how strongly the mouth speaks, from 0.5 (calm) to 1.5 (strong); the recording's loudness makes no difference",
    )
    parser.add_argument(
        "--when-short",
        choices=("bounce", "hold", "stop"),
        default="bounce",
        help="what happens where a video or motion is shorter than the speech: it plays backward and forward again, its last "
        "frame is held, or the result ends (default: bounce)",
    )
    parser.add_argument(
        "--time-limit", type=seconds, metavar="SECONDS", help="stop with an error after this time (default: no limit)"
    )


def speech_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the pipeline's arguments for the speech, checked without loading a model, and the time limit."""
    from ..drivers.text import check_text
    from ..media import SoundReader, WorkLimit

    if options.text is not None:
        check_text(options.text, options.tts)
    audio = None if options.audio is None else SoundReader(options.audio)
    limit = WorkLimit(seconds=options.time_limit)
    return {
        "audio": audio,
        "text": options.text,
        "tts": options.tts,
        "articulation": options.articulation,
        "when_short": options.when_short,
        "limit": limit,
    }


def add_portrait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--face",
        type=which_face,
        default="largest",
        help="which face of a picture with several people: "
        '"largest" (default), "only" (refuse to choose), or an index, 0 the largest',
    )
    parser.add_argument("--model", help="a renderer: a Hub id or folder (default: the embedded teacher)")
    parser.add_argument("--device", default=AUTO, help=DEVICE_HELP)
    parser.add_argument("--dtype", choices=DTYPES, default=AUTO, help=DTYPE_HELP)


def add_restorer_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--restorer", metavar="ID", help="a restorer: a Hub id or folder (default: the embedded one)")


def load_pipeline(options: argparse.Namespace) -> Any:
    from transformers import pipeline

    from ..hub import loading, weights_folder

    model, device = options.model or str(weights_folder("teacher")), choose_device(options.device)
    try:
        with loading(model):
            return pipeline(  # type: ignore[call-overload]
                "talking-face",
                model=model,
                device=device,
                dtype=options.dtype,
                restorer=getattr(options, "restorer", None),
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise SuperFaceError(f"The model {model} cannot be loaded on {device}: {error}") from error


def named_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, not {text!r}")
    return name, value


def blendshape(text: str) -> tuple[str, float]:
    name, value = named_pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"the value of {name} must be a number, not {value!r}") from None


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected seconds above zero, not {text!r}")
    return value


def which_face(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
