"""Pictures with mattes in a few files, decoded at once into one tensor on the training device.

The trainings of matte and inpainter see every picture many times, changed on the device, so that nothing but the device
limits them: no workers, no disk. ``pack_pictures`` makes the folder.
"""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ...errors import SuperFaceError
from ...utils.files import write_arrays

INDEX, PICTURES = "index.csv", "pictures.npz"
MATTE_SIZE = 256  # pixels
# How often a picture of each kind is chosen: every portrait is another person.
CHANCES = {"portrait": 4.0, "clip": 1.0}
COLUMNS = ("name", "split", "kind", "faces", "centre_x", "centre_y", "face_width")


@dataclass(frozen=True, eq=False)
class PackedPictures:
    """Square pictures, each with one person's face and the matte of the people in it.

    Attributes:
        pictures: (N, 3, S, S) uint8, red first.
        mattes: (N, 1, 256, 256) uint8.
        faces: (N, 3) float32: middle of the face (x, y) and its width, as shares of the picture's side.
        names: where each comes from.
        kinds: "portrait" or "clip" (a frame of one).
    """

    pictures: Tensor
    mattes: Tensor
    faces: Tensor
    names: tuple[str, ...]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def choose(self, count: int) -> Tensor:
        """Return (count,) random numbers of pictures."""
        chances = torch.tensor([CHANCES[kind] for kind in self.kinds])
        return torch.multinomial(chances, count, replacement=True).to(self.pictures.device)


def write_packed(folder: Path, rows: list[dict[str, object]], pictures: list[bytes], mattes: list[bytes]) -> None:
    """Write encoded square pictures and mattes and their table (columns ``COLUMNS``), in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for name, files in (("picture", pictures), ("matte", mattes)):
        arrays[name] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([len(file) for file in files])
    write_arrays(folder / PICTURES, arrays)
    with (folder / INDEX).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def load_packed(
    folder: Path, split: str, size: int, device: str | torch.device = "cpu", one_face: bool = False
) -> PackedPictures:
    """Return the pictures of a split, of ``size`` pixels; with ``one_face`` only those in which one face was found.

    Raises:
        SuperFaceError: the folder holds no packed pictures, or none of this split.
    """
    if not (folder / INDEX).is_file() or not (folder / PICTURES).is_file():
        raise SuperFaceError(f"{folder} holds no {INDEX} and {PICTURES}: make it with superface_hf.data.pictures.pack.")
    with (folder / INDEX).open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [
        number for number, row in enumerate(rows) if row["split"] == split and (int(row["faces"]) == 1 or not one_face)
    ]
    if not chosen:
        raise SuperFaceError(f"{folder} holds no pictures of the split {split!r}.")
    with np.load(folder / PICTURES) as arrays:
        stored = {name: arrays[name] for name in arrays.files}

    def encoded(kind: str, number: int) -> np.ndarray:
        ends = stored[f"{kind}_ends"]
        return stored[kind][(ends[number - 1] if number else 0) : ends[number]]

    pictures = torch.empty(len(chosen), 3, size, size, dtype=torch.uint8)
    mattes = torch.empty(len(chosen), 1, MATTE_SIZE, MATTE_SIZE, dtype=torch.uint8)

    def decode(place: int) -> None:
        picture: Any = cv2.imdecode(encoded("picture", chosen[place]), cv2.IMREAD_COLOR)
        if picture.shape[0] != size:
            how = cv2.INTER_AREA if picture.shape[0] > size else cv2.INTER_CUBIC
            picture = cv2.resize(picture, (size, size), interpolation=how)
        pictures[place] = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)))
        mattes[place, 0] = torch.from_numpy(cv2.imdecode(encoded("matte", chosen[place]), cv2.IMREAD_GRAYSCALE))

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(chosen))))
    faces = [[float(rows[n][c]) for c in ("centre_x", "centre_y", "face_width")] for n in chosen]
    return PackedPictures(
        pictures.to(device),
        mattes.to(device),
        torch.tensor(faces, device=device),
        tuple(rows[n]["name"] for n in chosen),
        tuple(rows[n]["kind"] for n in chosen),
    )
