"""Measure the restorer on held-out people, and on made-up portraits.

    python benchmarks/restorer.py FACES --sheets DIR

``FACES`` is what ``superface_hf.training.restorer.pack`` wrote. Prints, for degraded photographs and for faces as the face
space draws them, figures of the input and of the restored picture for each fidelity; then the sharpness of made-up portraits as
a share of real ones'. Sheets show input, restored (fidelity 0, 0.5, 1) and true picture; and made-up portraits, restored
likewise; eyes and mouth at twice the size.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from superface_hf import SpeechToPortraitPipeline
from superface_hf.media import save_picture
from superface_hf.models.embedded import load_restorer
from superface_hf.models.face_space.modeling_face_space import FACE_BOX
from superface_hf.models.restorer.face_region import restore_face
from superface_hf.models.restorer.modeling_restorer import CodebookRestorer
from superface_hf.provenance.marks import MADE_UP
from superface_hf.training.losses.perceptual import PerceptualDistance, packed_distance
from superface_hf.training.restorer.degraded_faces import FacePairs, fixed_pairs
from superface_hf.training.restorer.packed_faces import INDEX, face_sharpness, load_faces
from superface_hf.training.restorer.validation import FIDELITIES, compared

SIZE = 512  # pixels
CLOSE_UPS = ((slice(160, 224), slice(170, 342)), (slice(256, 320), slice(170, 342)))  # eyes and mouth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--restorer", help="a folder or Hub id (default: the embedded one)")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=16, help="made-up portraits")
    parser.add_argument("--sheets", type=Path, help="folder for the sheets")
    parser.add_argument("--out", type=Path, help="the .json to write")
    options = parser.parse_args()
    restorer = load_restorer(options.restorer)
    data = load_faces(options.faces, "val")
    results: dict[str, dict[str, float]] = {}
    for kind in ("drawn", "degraded"):
        pairs = fixed_pairs(data, options.people, SIZE, kinds=(kind,))
        results[kind], rows = restored_figures(restorer, pairs, packed_distance(options.faces, "cpu"))
        print(kind, json.dumps(results[kind], indent=1), flush=True)
        if options.sheets:
            save_picture(options.sheets / f"{kind}.png", sheet(rows))
    with (options.faces / INDEX).open(newline="") as file:
        real = [float(row["sharpness"]) for row in csv.DictReader(file) if row["kind"] == "portrait"]
    results["made up"], rows = made_up_figures(restorer, options.seeds, float(np.median(real)))
    print("made up", json.dumps(results["made up"], indent=1), flush=True)
    if options.sheets:
        save_picture(options.sheets / "made_up.png", sheet(rows), source_type=MADE_UP)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


@torch.inference_mode()
def restored_figures(
    restorer: CodebookRestorer, pairs: FacePairs, distance: PerceptualDistance
) -> tuple[dict[str, float], list[list[np.ndarray]]]:
    """Return means of code accuracy, PSNR, perceptual distance and sharpness inside the face, and rows of pictures."""
    figures: dict[str, list[Tensor]] = {}
    rows = []
    for number in range(len(pairs.clean)):
        clean, degraded = (each[number : number + 1] for each in (pairs.clean, pairs.degraded))
        true = restorer.distances(restorer.clean_features(clean)).argmin(1)
        found = restorer.logits(restorer.see(degraded).features).argmax(1)
        figures.setdefault("accuracy", []).append((true == found).float().mean((1, 2)))
        shown = {"input": degraded} | {f"{w:g}": restorer.restore(degraded, w) for w in FIDELITIES}
        for name, picture in shown.items():
            found_face, true_face = (each[..., FACE_BOX[0], FACE_BOX[1]].clone() for each in (picture, clean))
            for measure, value in compared(found_face, true_face, distance).items():
                figures.setdefault(f"{measure} {name}", []).append(value)
        rows.append([as_array(each) for each in (*shown.values(), clean)])
    return {name: float(torch.cat(values).mean()) for name, values in figures.items()}, rows


def made_up_figures(
    restorer: CodebookRestorer, seeds: int, usual: float
) -> tuple[dict[str, float], list[list[np.ndarray]]]:
    """Return the median sharpness of made-up portraits as a share of ``usual``, real portraits', and rows of
    pictures."""
    pipe = SpeechToPortraitPipeline.embedded()
    rows = []
    for seed in range(seeds):
        drawn = pipe(
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            size=SIZE,
            presentation=float(seed % 2),
            age=25 + 3 * seed % 40,
        )
        picture, landmarks = drawn.images[0], drawn.landmarks[0]
        rows.append([picture, *(restore_face(restorer, picture, landmarks, w) for w in FIDELITIES)])
    names = ("drawn", *(f"{w:g}" for w in FIDELITIES))
    columns = zip(*rows, strict=True)
    return {
        f"sharpness {name}": float(np.median([face_sharpness(each) for each in column]) / usual)
        for name, column in zip(names, columns, strict=True)
    }, rows


def as_array(picture: Tensor) -> np.ndarray:
    return (picture[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def sheet(rows: list[list[np.ndarray]], most: int = 8) -> np.ndarray:
    """Return a row of faces, and under it eyes and mouth at twice the size, for each of the first ``most`` rows."""
    lines = []
    for row in rows[:most]:
        closer = [np.concatenate([picture[box] for box in CLOSE_UPS]) for picture in row]
        face = (slice(80, 400), slice(84, 428))
        tiles = [np.concatenate([p[face], c.repeat(2, 0).repeat(2, 1)]) for p, c in zip(row, closer, strict=True)]
        lines.append(np.concatenate(tiles, axis=1))
    return np.concatenate(lines)


if __name__ == "__main__":
    main()
