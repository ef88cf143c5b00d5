"""Count how often something else than the person is animated, and how often a face is not found::

    python benchmarks/wrong_faces.py
    python benchmarks/wrong_faces.py --kinds wall --portraits $SUPERFACE_DATA/portraits_large.parquet
    python benchmarks/wrong_faces.py --kinds --folder animals/

Each scene shows the bundled portrait beside something larger that is drawn and placed like a face: walls with windows, cars,
sockets, animals' noses, hands, appliances. Training draws others of them (other seeds, sizes, and places), so these are new
to the tracker, their style is not. With ``--portraits``, pictures are turned to any roll. With ``--folder``, pictures of
animals or drawings are shown as they are, small, in a wider place, leaning and cut, and what a user is told is counted.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from superface_hf.animation.doubts import DRAWN, UNSURE, doubts_about
from superface_hf.animation.drawn_eyes import fit_drawn_eyes
from superface_hf.data.tracker.lookalikes import LOOKALIKES, beside
from superface_hf.media import load_picture
from superface_hf.models.embedded import embedded_tracker
from superface_hf.models.tracker.base import Face
from superface_hf.models.tracker.modeling_tracker import SuperFaceTrackerModel
from superface_hf.utils.assets import PORTRAIT

BATCH = 10
# The part of the bundled portrait with head and shoulders.
HEAD_AND_SHOULDERS = (slice(0, 300), slice(60, 400))
# A face is where it should be if its landmarks are this close on average, in widths of its box.
CLOSE = 0.06
# The colour around pictures that are turned or placed.
GROUND = (128, 120, 110)


@dataclass(frozen=True)
class Count:
    """Of ``scenes`` pictures: where another thing than the person would be animated, where nothing would, and where another
    thing is found at all."""

    scenes: int
    wrong: int
    nothing: int
    false: int


def count_wrong(model: SuperFaceTrackerModel, kind: str, scenes: int) -> Count:
    """Count wrong finds in scenes of one kind, with the seeds 0, 1, ..."""
    person = load_picture(PORTRAIT)[HEAD_AND_SHOULDERS]
    wrong = nothing = false = 0
    for first in range(0, scenes, BATCH):
        made = [beside(person, kind, seed) for seed in range(first, min(first + BATCH, scenes))]
        for faces, (_, box) in zip(model.find_faces_batch([picture for picture, _ in made]), made, strict=True):
            nothing += not faces
            wrong += bool(faces) and not _inside(faces[0], box)
            false += any(not _inside(face, box) for face in faces)
    return Count(scenes, wrong, nothing, false)


def _inside(face: Face, box: np.ndarray) -> bool:
    middle = (face.box[:2] + face.box[2:]) / 2
    return bool((middle >= box[:2]).all() and (middle <= box[2:]).all())


def rolled(picture: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rotated picture, with the rotation (2, 2) and the shift that map its pixels there."""
    turned = np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC, expand=True))
    angle = math.radians(-degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle, before = np.array(turned.shape[1::-1]) / 2, np.array(picture.shape[1::-1]) / 2
    return turned, turn, middle - turn @ before


def roll_errors(model: SuperFaceTrackerModel, picture: np.ndarray, angles: list[float]) -> list[float | None]:
    """Return for each roll the distance of the first face's landmarks from their true places, in widths of its box;
    None where no face is found. The list is empty for a picture without a certain face."""
    upright = model.find_faces(picture)
    if not upright or not upright[0].certain:
        return []
    errors: list[float | None] = []
    for degrees in angles:
        turned, turn, shift = rolled(picture, degrees)
        faces = model.find_faces(turned)
        expected = upright[0].landmarks[:, :2] @ turn.T + shift
        error = np.linalg.norm(faces[0].landmarks[:, :2] - expected, axis=1).mean() if faces else None
        errors.append(None if error is None else float(error) / math.sqrt(upright[0].area))
    return errors


def print_rolls(model: SuperFaceTrackerModel, pictures: Iterable[np.ndarray], angles: list[float]) -> None:
    """Print for each roll how many faces are found, how far their landmarks are off, and how many are elsewhere."""
    rows = [errors for picture in pictures if (errors := roll_errors(model, picture, angles))]
    print("roll   found       error, % of the face: median, 95th  in the wrong place")
    for angle, column in zip(angles, zip(*rows, strict=True), strict=True):
        found = np.array([error for error in column if error is not None])
        middle, high = np.percentile(100 * found, [50, 95])
        wrong = int((found > CLOSE).sum())
        print(f"{angle:3.0f}    {len(found)} of {len(column)}  {middle:.2f}, {high:.2f}  {wrong}", flush=True)


def variants(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Return a picture as it is (at most 640 pixels on the longer side), small, in a wider place, leaning and cut."""
    image, small = Image.fromarray(picture), Image.fromarray(picture)
    image.thumbnail((640, 640))
    small.thumbnail((256, 256))
    wide, high = image.size
    place = Image.new("RGB", (2 * wide, 2 * high), GROUND)
    place.paste(image, (wide // 2, high // 3))
    place.thumbnail((640, 640))
    leaning = image.rotate(25, Image.Resampling.BICUBIC, expand=True, fillcolor=GROUND)
    cut = image.crop((wide // 5, high // 8, wide - wide // 5, high - high // 4))
    shown = {"as it is": image, "small": small, "in a wider place": place, "leaning": leaning, "cut": cut}
    return {name: np.asarray(each) for name, each in shown.items()}


def told(model: SuperFaceTrackerModel, picture: np.ndarray) -> str:
    """Return what a user is told of a picture, in a word."""
    faces = model.find_faces(picture)
    if not faces:
        return "refused"
    drawn = fit_drawn_eyes(picture, faces[0].landmarks) is not None
    return {DRAWN: "drawn", UNSURE: "no person", None: "nothing"}[doubts_about(picture, faces[0], model, drawn)]


def print_told(model: SuperFaceTrackerModel, folder: Path) -> None:
    """Print how often a user is told what of a folder's pictures, and of how many the same in all variants."""
    answers = [
        {name: told(model, each) for name, each in variants(load_picture(path)).items()}
        for path in sorted(folder.iterdir())
    ]
    for name in answers[0]:
        print(f"{name:18s}", dict(Counter(answer[name] for answer in answers).most_common()))
    same = sum(len(set(answer.values())) == 1 for answer in answers)
    print(f"the same in all of these: {same} of {len(answers)} pictures", flush=True)


def portraits(path: Path, count: int) -> Iterator[np.ndarray]:
    """Yield evenly spaced pictures of a parquet file, at most 640 pixels on the longer side."""
    import pyarrow.parquet as pq

    column = pq.read_table(path, columns=["image"])["image"]
    for number in np.linspace(0, len(column) - 1, count).astype(int):
        picture = Image.fromarray(load_picture(column[int(number)].as_py()["bytes"]))
        picture.thumbnail((640, 640))
        yield np.asarray(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=list(LOOKALIKES), default=list(LOOKALIKES))
    parser.add_argument("--scenes", type=int, default=300, help="pictures of each kind (default: 300)")
    parser.add_argument("--model", type=Path, help="a tracker's folder (default: the embedded one)")
    parser.add_argument("--portraits", type=Path, help="a parquet file with a column `image`: turns its pictures")
    parser.add_argument(
        "--folder", type=Path, help="pictures of animals or drawings: counts what a user is told of them"
    )
    parser.add_argument("--pictures", type=int, default=12, help="how many of them (default: 12)")
    parser.add_argument("--step", type=float, default=30, help="degrees between two rolls (default: 30)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = SuperFaceTrackerModel.from_pretrained(args.model).eval() if args.model else embedded_tracker("cpu")
    for kind in args.kinds:
        counted = count_wrong(model, kind, args.scenes)
        print(
            f"{kind:10s} {counted.wrong} of {counted.scenes} animate the wrong thing, {counted.nothing} find nothing, "
            f"{counted.false} find something beside the person",
            flush=True,
        )
    if args.portraits:
        print_rolls(model, portraits(args.portraits, args.pictures), list(np.arange(0, 360, args.step)))
    if args.folder:
        print_told(model, args.folder)


if __name__ == "__main__":
    main()
