"""``superface portrait``: a voice -> made-up portraits that suit it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_restorer_option
from .output import add_json_option, print_result


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "portrait",
        help="a voice -> made-up portraits that suit it",
        description="Draws made-up faces. The voice moves only how masculine or feminine and how old they look; everything "
        "else is drawn by seed. None is what the speaker looks like.",
    )
    parser.add_argument("audio", help="speech: a path or URL of a sound or video file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for 00.png, 01.png, ...")
    parser.add_argument("-n", "--number", type=int, default=1, help="number of portraits (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random faces (default: 0)")
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels (default: 512)")
    parser.add_argument("--restore", action="store_true", help="give the faces detail by the restorer")
    parser.add_argument(
        "--fidelity",
        type=float,
        default=0.5,
        help="with --restore: 0 (detail of the restorer's codebook) to 1 (closest to the drawing) (default: 0.5)",
    )
    add_restorer_option(parser)
    add_group_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def add_group_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that override what would be estimated from the voice."""
    parser.add_argument(
        "--presentation", type=_presentation, help="feminine, androgynous, masculine, or a number from 0 to 1"
    )
    parser.add_argument("--age", type=float, help="age in years, 18 to 90")
    parser.add_argument(
        "--tone", type=float, help="skin tone, 0 the lightest to 1 the darkest; it is never estimated from the voice"
    )


def group_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return those group options that were given."""
    names = ("presentation", "age", "tone")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _presentation(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def run(options: argparse.Namespace) -> None:
    import torch

    from ..media import SoundReader, check_picture_path, save_picture
    from ..pipelines.speech_to_portrait import SpeechToPortraitPipeline
    from ..provenance.marks import DISCLAIMER, MADE_UP

    audio = SoundReader(options.audio)
    pipe = SpeechToPortraitPipeline.embedded(options.restorer)
    options.output.mkdir(parents=True, exist_ok=True)
    paths = [check_picture_path(options.output / f"{number:02}.png") for number in range(options.number)]
    drawn = pipe(
        audio,
        num_images=options.number,
        size=options.size,
        generator=torch.Generator().manual_seed(options.seed),
        restore=options.restore,
        fidelity=options.fidelity,
        output_type="np",
        **group_of(options),
    )
    for path, picture in zip(paths, drawn.images, strict=True):
        save_picture(path, picture, source_type=MADE_UP)
    heard = drawn.hearing
    line = (
        f"heard {heard.seconds:.1f} s of voice: presentation {heard.presentation:.2f} (0 feminine, 1 masculine; certainty "
        f"{heard.presentation_certainty:.2f}), age {heard.age:.0f} (certainty {heard.age_certainty:.2f}), beta {heard.beta:.2f}"
    )
    lines = [*map(str, paths), line, DISCLAIMER]
    print_result(options, "\n".join(lines), outputs=paths, heard=vars(heard), disclaimer=DISCLAIMER)
