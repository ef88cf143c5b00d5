"""Draw a contact sheet of one made-up face that says the bundled sentence with different emotions and styles.

    python benchmarks/performance_sheet.py docs/images/performances.jpg

A row is an emotion or a style, a column a moment of the sentence, the same in all rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from transformers import pipeline

import superface_hf  # noqa: F401 - registers the task
from superface_hf.media import load_sound, save_picture
from superface_hf.provenance.marks import MADE_UP
from superface_hf.utils.assets import SPEECH

MOMENTS, SECONDS = 8, 3.4
SIDE, MARGIN = 120, 72  # pixels of a face, and of the words beside a row
WINDOW = (0.25, 0.19, 0.75, 0.69)  # of the picture: the face


def rows(emotions: tuple[str, ...], styles: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the arguments of each row."""
    asked: dict[str, dict[str, Any]] = {"no emotion": {"idle": "diffusion"}}
    asked |= {name: {"emotion": {name: 1.5}} for name in emotions}
    return asked | {f"style {name}": {"style": name, "strength": 1.3} for name in styles}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture to write, .jpg")
    parser.add_argument("--seed", type=int, default=0, help="of the face and its motion")
    options = parser.parse_args()
    pipe: Any = pipeline("talking-face", device="cpu")  # type: ignore[call-overload]
    config = pipe.speech_to_motion.statistics.config
    sound = load_sound(SPEECH).cut(SECONDS)
    lines = []
    for name, asked in rows(tuple(config.emotions), tuple(config.styles)).items():
        clip = pipe(audio=sound, seed=options.seed, fps=MOMENTS / SECONDS, **asked)
        box = tuple(share * clip.frames.shape[1] for share in WINDOW)
        line = Image.new("RGB", (MARGIN + MOMENTS * SIDE, SIDE), "white")
        ImageDraw.Draw(line).text((6, SIDE // 2 - 6), name, fill="black")
        for column, frame in enumerate(clip.frames[:MOMENTS]):
            face = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
            line.paste(face, (MARGIN + column * SIDE, 0))
        lines.append(np.asarray(line))
        print(name, flush=True)
    save_picture(options.out, np.vstack(lines), source_type=MADE_UP)


if __name__ == "__main__":
    main()
