"""Gather faces for the face space: upright, in one square, with labels; from tables of portraits and from talking clips.

    python -m superface_hf.training.portraits.gather DATA OUT --only portraits_large portraits_small clips

``DATA`` holds ``portraits_*.parquet``, ``clips.csv`` and ``clips/``. For each of them ``OUT`` gets ``NAME.npz`` (one row a
face) and ``NAME.npy``, their pictures (N, 512, 512, 4) uint8: colours, and 255 where the picture shows something.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from ...errors import MediaError
from ...face_model.linear import FaceModel
from ...face_model.topology import INNER_LIPS, LEFT_LIDS, RIGHT_LIDS, inter_ocular, lid_gap
from ...media import load_picture
from ...media.video import VideoReader
from ...models.embedded import embedded_tracker
from ...models.face_space.canonical import Upright
from ...models.tracker.base import FaceTracker
from ...utils.files import write_arrays
from .labels import FaceGuesser

MAX_SIDE = 1024  # pixels of a picture that is looked at
MAX_TURN = 0.26  # radians to a side, up or down: faces that look elsewhere are left out
MIN_FACE = 60  # pixels from forehead to chin
CLIPS = "clips"
SAME_FOLDER = 12
CLIP_SECONDS, CLIP_STEP = 5, 18  # of a clip; every so many frames are looked at
GREY_STEP = 10  # of the grey pictures, every so many are taken: they teach less
GREY = 3.0  # mean distance of a picture's colours from grey, of 255, below which it counts as grey


@dataclass(eq=False)
class Found:
    """A face in a picture, with how well it shows: lower is better."""

    picture: np.ndarray
    landmarks: np.ndarray
    rotation: np.ndarray
    opening: float
    lids: float
    badness: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=["portraits_large", "portraits_small", CLIPS], metavar="NAME")
    parser.add_argument("--limit", type=int, help="only so many pictures of each table, and clips")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tracker, model, guess = embedded_tracker("cpu"), FaceModel.default(), FaceGuesser()
    for name in options.only:
        gather(options.data, name, options.out, options.limit, tracker, model, guess)


def gather(
    data: Path,
    collection: str,
    out: Path,
    limit: int | None,
    tracker: FaceTracker,
    model: FaceModel,
    guess: FaceGuesser,
) -> None:
    """Write one collection: a table of portraits, or the clips."""
    rows: list[dict[str, object]] = []
    pictures: list[np.ndarray] = []
    sources = (_clips if collection == CLIPS else _portraits)(data, collection, limit)
    for name, split, load in tqdm(list(sources), mininterval=20, desc=collection):
        best = min(_looked_at(load, tracker, model), key=lambda found: found.badness, default=None)
        if best is None or np.abs(best.rotation[:2]).max() > MAX_TURN:
            continue
        upright = Upright.of(best.landmarks)
        label = guess(best.picture, best.landmarks)
        picture, seen = upright.cut_out(best.picture)
        pictures.append(np.dstack([picture, (seen * 255).astype(np.uint8)]))
        rows.append(
            {
                "collection": collection, "name": name, "split": split,
                "landmarks": upright.to_canonical(best.landmarks).astype(np.float32),
                "rotation": best.rotation.astype(np.float32), "opening": best.opening, "lids": best.lids,
                "scale": upright.scale, "masculine": label.masculine, "age": label.age, "embedding": label.embedding,
                "grey": _is_grey(best.picture),
            }
        )  # fmt: skip
    write_arrays(out / f"{collection}.npz", {key: np.array([row[key] for row in rows]) for key in rows[0]})
    np.save(out / f"{collection}.npy", np.stack(pictures))


def _portraits(data: Path, collection: str, limit: int | None) -> Iterator[tuple[str, str, bytes]]:
    table = pq.read_table(data / f"{collection}.parquet").slice(0, limit).to_pydict()
    greys = 0
    for number, image in enumerate(table["image"]):
        try:
            grey = _is_grey(load_picture(image["bytes"]))
        except MediaError:
            continue
        greys += grey
        if not grey or greys % GREY_STEP == 0:
            split = table["split"][number] if "split" in table else "train"
            yield str(table["name"][number]), split, image["bytes"]


def _clips(data: Path, collection: str, limit: int | None) -> Iterator[tuple[str, str, Path]]:
    """Yield the first clips of each folder of a repository, and every fourth of the others: they often show one person."""
    seen: dict[tuple[str, str], int] = {}
    with (data / "clips.csv").open() as file:
        for row in islice(csv.DictReader(file), limit):
            home = (row["repo"], row["path"].rpartition("/")[0])
            seen[home] = seen.get(home, 0) + 1
            if seen[home] <= SAME_FOLDER or seen[home] % 4 == 0:
                yield row["clip"], row["split"], data / collection / row["clip"]


def _looked_at(load: object, tracker: FaceTracker, model: FaceModel) -> Iterator[Found]:
    """Yield the faces of a picture (bytes), or of some frames of a clip (a path)."""
    try:
        if isinstance(load, Path):
            reader = VideoReader(load)
            frames = list(islice(reader, 0, int(CLIP_SECONDS * reader.fps), CLIP_STEP))
        else:
            frames = [_small(load_picture(load))]
    except MediaError:
        return
    for frame in frames:
        faces = tracker.find_faces(frame)
        if not faces or not faces[0].certain or np.ptp(faces[0].landmarks[:, 1]) < MIN_FACE:
            continue
        points = faces[0].landmarks
        _, motion = model.fit(points[None].astype(np.float64), fps=1.0)
        eyes = float(inter_ocular(points))
        upper, lower = np.array(INNER_LIPS).T
        opening = float((points[lower, 1] - points[upper, 1]).mean()) / eyes
        lids = float(min(lid_gap(points[None], lids)[0] for lids in (LEFT_LIDS, RIGHT_LIDS))) / eyes
        rotation = motion.rotation[0]
        badness = float(np.abs(rotation[:2]).sum() + 2 * max(0.0, opening) + 4 * max(0.0, 0.11 - lids))
        yield Found(frame, points, rotation, opening, lids, badness)


def _is_grey(picture: np.ndarray) -> bool:
    colours = picture[::4, ::4].astype(np.float32)
    return bool(np.abs(colours - colours.mean(2, keepdims=True)).mean() < GREY)


def _small(picture: np.ndarray) -> np.ndarray:
    scale = MAX_SIDE / max(picture.shape)
    if scale >= 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
