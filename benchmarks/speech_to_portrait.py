"""Measure invented portraits: whether they suit the voice, are faces, and show no person of the training set.

    python benchmarks/speech_to_portrait.py DATA FACES --judge package/models --seeds 5

``DATA`` holds the clips, ``FACES`` is what ``superface_hf.training.portraits.gather`` wrote. Prints one row a measure, for the
adaptive beta and for beta fixed at 0 and 1 (ablations (b) and (c) of figure 3 of "See the Speaker").
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from superface_hf import SpeechToPortraitPipeline
from superface_hf.evaluation.second_judge import SecondJudge
from superface_hf.evaluation.see_the_speaker import draw, measures, sharpness
from superface_hf.media import save_picture
from superface_hf.models.embedded import embedded_tracker
from superface_hf.provenance.marks import MADE_UP
from superface_hf.training.portraits.faces import suitable
from superface_hf.training.portraits.labels import FaceGuesser
from superface_hf.training.portraits.voices import gather_voices

VOICES, SHOWN_SEEDS, COLUMNS, TILE = 20, 4, 10, 120  # of the sheet; a face's side in pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument(
        "--judge", type=Path, required=True, help="folder package/models of the npm package @vladmandic/human"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--people", type=int, help="only the first so many people")
    parser.add_argument("--sheet", type=Path, help="a picture of 20 voices with 4 seeds each")
    parser.add_argument("--out", type=Path, help="the .json to write")
    options = parser.parse_args()
    pipe, guess, judge = SpeechToPortraitPipeline.embedded(), FaceGuesser(), SecondJudge(options.judge)
    tracker = embedded_tracker("cpu")
    voices = gather_voices(options.data, options.faces, pipe.voice_encoder)
    training, real = [], []
    for path in sorted(options.faces.glob("*.npz")):
        table = dict(np.load(path))
        rows = suitable(table)
        training.append(table["embedding"][rows])
        if path.stem == "portraits_large":
            pictures = np.load(path.with_suffix(".npy"), mmap_mode="r")
            sharp = np.flatnonzero(rows & (table["scale"] < 1) & ~table["grey"])[:100]
            real = [sharpness(np.ascontiguousarray(pictures[row][..., :3]), table["landmarks"][row]) for row in sharp]
    kept: list[np.ndarray] = []
    results = {}
    for name, beta in (("adaptive", None), ("beta 0", 0.0), ("beta 1", 1.0)):
        seeds = options.seeds if beta is None else 1
        keep = kept.append if beta is None else None
        drawn = draw(voices, pipe, seeds, judge, guess, tracker, beta, options.people, keep)
        results[name] = measures(drawn, voices, np.concatenate(training), np.array(real))
        print(name, json.dumps(results[name], indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))
    if options.sheet:
        save_picture(options.sheet, contact_sheet(kept, options.seeds), source_type=MADE_UP)


def contact_sheet(pictures: list[np.ndarray], seeds: int) -> np.ndarray:
    """Return the faces of the first voices, a column of ``SHOWN_SEEDS`` for each voice, in lines of ``COLUMNS`` voices.

    Args:
        pictures: (H, W, 3) uint8, ``seeds`` of each voice one after the other.
    """
    shown = min(seeds, SHOWN_SEEDS)
    voices = min(VOICES, len(pictures) // seeds)
    sheet = np.full((-(-voices // COLUMNS) * shown * TILE, COLUMNS * TILE, 3), 255, np.uint8)
    for voice in range(voices):
        for seed in range(shown):
            face = Image.fromarray(pictures[voice * seeds + seed]).resize((TILE, TILE), Image.Resampling.LANCZOS)
            top, left = ((voice // COLUMNS) * shown + seed) * TILE, (voice % COLUMNS) * TILE
            sheet[top : top + TILE, left : left + TILE] = np.asarray(face)
    return sheet


if __name__ == "__main__":
    main()
