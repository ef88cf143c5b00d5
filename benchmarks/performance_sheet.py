"""Show one made-up face that says the bundled sentence with different emotions and styles.

    python benchmarks/performance_sheet.py docs/images/performances.jpg docs/images/performances.mp4

In the picture a row is an emotion or a style, a column a moment of the sentence, the same in all rows. In the film, which has
sound, all faces speak at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from transformers import pipeline

import superface_hf  # noqa: F401 - registers the task
from superface_hf.media import load_sound, save_picture, write_mp4
from superface_hf.provenance.marks import MADE_UP
from superface_hf.utils.assets import SPEECH

MOMENTS, SECONDS, FPS = 8, 3.4, 25.0
SIDE, MARGIN = 120, 72  # pixels of a face, and of the words beside a row
ACROSS, LARGE = 4, 192  # faces beside each other in the film, and their pixels
WINDOW = (0.25, 0.19, 0.75, 0.69)  # of the picture: the face


def rows(emotions: tuple[str, ...], styles: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the arguments of each row."""
    asked: dict[str, dict[str, Any]] = {"no emotion": {"idle": "diffusion"}}
    asked |= {name: {"emotion": {name: 1.5}} for name in emotions}
    return asked | {f"style {name}": {"style": name, "strength": 1.3} for name in styles}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture to write, .jpg")
    parser.add_argument("film", type=Path, help="the film to write, .mp4")
    parser.add_argument("--seed", type=int, default=0, help="of the face and its motion")
    options = parser.parse_args()
    pipe: Any = pipeline("talking-face", device="cpu")  # type: ignore[call-overload]
    config = pipe.speech_to_motion.statistics.config
    sound = load_sound(SPEECH).cut(SECONDS)
    lines, faces = [], []
    for name, asked in rows(tuple(config.emotions), tuple(config.styles)).items():
        clip = pipe(audio=sound, seed=options.seed, fps=FPS, **asked)
        line = Image.new("RGB", (MARGIN + MOMENTS * SIDE, SIDE), "white")
        ImageDraw.Draw(line).text((6, SIDE // 2 - 6), name, fill="black")
        for column in range(MOMENTS):
            line.paste(_face(clip.frames[column * len(clip) // MOMENTS], SIDE), (MARGIN + column * SIDE, 0))
        lines.append(np.asarray(line))
        faces.append([np.asarray(_named(_face(frame, LARGE), name)) for frame in clip.frames])
        print(name, flush=True)
    save_picture(options.out, np.vstack(lines), source_type=MADE_UP)
    empty = [np.zeros_like(faces[0][0])] * len(faces[0])
    faces += [empty] * (-len(faces) % ACROSS)
    bands = [np.concatenate(faces[start : start + ACROSS], axis=2) for start in range(0, len(faces), ACROSS)]
    spoken = sound.fit(len(empty) / FPS)
    write_mp4(
        options.film, np.concatenate(bands, axis=1), FPS, spoken.samples, spoken.rate, label=True, source_type=MADE_UP
    )


def _face(frame: np.ndarray, side: int) -> Image.Image:
    box = tuple(share * frame.shape[0] for share in WINDOW)
    return Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS, box=box)


def _named(face: Image.Image, name: str) -> Image.Image:
    ImageDraw.Draw(face).text((6, 4), name, fill="white", stroke_width=2, stroke_fill="black")
    return face


if __name__ == "__main__":
    main()
