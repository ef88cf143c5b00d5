"""Upright faces in a few files, decoded at once into tensors on the training device."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.jpeg import decode_jpeg
from ...errors import SuperFaceError
from ...models.face_space.canonical import SIZE
from ...models.face_space.modeling_face_space import FACE_BOX
from ...utils.files import write_arrays

INDEX, PICTURES = "index.csv", "pictures.npz"
# Faces of this sharpness and more are chosen often, softer ones less, down to a share.
SHARP, LEAST = 150.0, 0.2
COLUMNS = ("name", "split", "kind", "person", "sharpness")


class PackedFace(NamedTuple):
    """An upright face.

    Attributes:
        name: where it comes from.
        split: "train" or "val".
        kind: "portrait" or "clip".
        person: the number of the person.
        sharpness: see :func:`face_sharpness`.
        picture: the canonical square, a JPEG file of ``SIZE`` pixels.
        drawn: how the face space draws it, without fine detail, a JPEG file; empty if it did not.
    """

    name: str
    split: str
    kind: str
    person: int
    sharpness: float
    picture: bytes
    drawn: bytes


@dataclass(frozen=True, eq=False)
class PackedFaces:
    """Faces on the training device.

    Attributes:
        pictures: (N, 3, SIZE, SIZE) uint8.
        drawn: (M, 3, SIZE, SIZE) uint8: how the face space draws some of them.
        drawn_of: (N,) int64: the row of ``drawn``, or -1.
        chances: (N,) how often each is chosen: the less often, the more pictures show that person and the softer it is.
        names, persons: of each.
    """

    pictures: Tensor
    drawn: Tensor
    drawn_of: Tensor
    chances: Tensor
    names: tuple[str, ...]
    persons: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    def choose(self, count: int) -> Tensor:
        """Return (count,) random rows."""
        return torch.multinomial(self.chances, count, replacement=True).to(self.pictures.device)


def face_sharpness(square: np.ndarray) -> float:
    """Return the variance of the Laplacian inside the face of a canonical square (SIZE, SIZE, 3) uint8, in grey levels
    squared."""
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY).astype(np.float32)[FACE_BOX]
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def write_faces(folder: Path, faces: list[PackedFace]) -> None:
    """Write faces and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name in ("picture", "drawn"):
        files = [getattr(face, name) for face in faces]
        arrays[name] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([len(file) for file in files])
    write_arrays(folder / PICTURES, arrays)
    with (folder / INDEX).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*face[:4], round(face.sharpness, 1)) for face in faces)


def load_faces(folder: Path, split: str, device: str | torch.device = "cpu") -> PackedFaces:
    """Return the faces of a split.

    Raises:
        SuperFaceError: the folder holds no packed faces, or none of this split.
    """
    if not (folder / INDEX).is_file() or not (folder / PICTURES).is_file():
        raise SuperFaceError(
            f"{folder} holds no {INDEX} and {PICTURES}: make it with superface_hf.training.restorer.pack."
        )
    with (folder / INDEX).open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [number for number, row in enumerate(rows) if row["split"] == split]
    if not chosen:
        raise SuperFaceError(f"{folder} holds no faces of the split {split!r}.")
    with np.load(folder / PICTURES) as stored:
        files = {name: _files(stored[name], stored[f"{name}_ends"]) for name in ("picture", "drawn")}
    pictures = torch.stack([_decoded(files["picture"][number]) for number in chosen])
    drawn: list[Tensor] = []
    drawn_of = torch.full((len(chosen),), -1)
    for row, number in enumerate(chosen):
        if files["drawn"][number]:
            drawn_of[row] = len(drawn)
            drawn.append(_decoded(files["drawn"][number]))
    persons = tuple(int(rows[number]["person"]) for number in chosen)
    shown = Counter(persons)
    sharp = [min(max(float(rows[number]["sharpness"]) / SHARP, LEAST), 1.0) for number in chosen]
    chances = torch.tensor([weight * shown[person] ** -0.5 for weight, person in zip(sharp, persons, strict=True)])
    stacked = torch.stack(drawn) if drawn else pictures[:0]
    names = tuple(rows[number]["name"] for number in chosen)
    return PackedFaces(pictures.to(device), stacked.to(device), drawn_of.to(device), chances, names, persons)


def _files(joined: np.ndarray, ends: np.ndarray) -> list[bytes]:
    return [joined[start:end].tobytes() for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _decoded(file: bytes) -> Tensor:
    """Return a JPEG file as (3, SIZE, SIZE) uint8."""
    picture = torch.from_numpy(decode_jpeg(file).copy()).permute(2, 0, 1)
    if picture.shape[-1] == SIZE:
        return picture
    larger = F.interpolate(picture[None].float(), (SIZE, SIZE), mode="bicubic", align_corners=False)
    return larger[0].round().clamp(0, 255).byte()
