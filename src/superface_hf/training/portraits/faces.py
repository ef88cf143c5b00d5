"""The gathered faces as a training set: unsuitable ones left out, numbered by person, and laid on one mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ...face_model.linear import FaceModel
from ...layers.matting import cut_out_person, foreground_colours
from ...models.embedded import embedded_matte
from ...models.face_space.canonical import SIZE, laid_on, mean_landmarks, off_canvas

YOUNGEST = 20.0  # years as guessed; below it somebody may be under 18
OPEN_MOUTH, CLOSED_EYES = 0.16, 0.045  # inter-ocular distances beyond which an expression is no portrait's
SAME_PERSON = 0.45  # dlib distance below which two faces are taken for one person's
HELD_OUT = 10  # every so many people are held out
LEFT_OUT = Path(__file__).with_name("left_out.txt")


@dataclass(eq=False)
class Faces:
    """People's faces, one row each, on the mean mesh of the canonical square.

    Attributes:
        colours: (N, 3, S, S) uint8, the person's own colours.
        alpha, seen: (N, S, S) uint8: the person's share, and 255 where the picture shows something.
        pictures: (N, 3, S, S) uint8, with the background.
        shapes: (N, 478, 3) float32, canonical units, upright.
        masculine, age, tone: (N,) float32.
        grey: (N,) bool: pictures without colour.
        person: (N,) int64.
        held_out: (N,) bool.
        embedding: (N, 128) float32.
        scale: (N,) float32, canonical pixels for each of the picture's: above 1 the picture is coarser.
        names: (N,) of the pictures.
    """

    pictures: np.ndarray
    colours: np.ndarray
    alpha: np.ndarray
    seen: np.ndarray
    shapes: np.ndarray
    masculine: np.ndarray
    age: np.ndarray
    tone: np.ndarray
    grey: np.ndarray
    person: np.ndarray
    held_out: np.ndarray
    embedding: np.ndarray
    scale: np.ndarray
    names: np.ndarray

    def part(self, rows: np.ndarray) -> Faces:
        """Select some of the rows."""
        return Faces(**{key: value[rows] for key, value in vars(self).items()})

    @property
    def weights(self) -> np.ndarray:
        """(N,) so that every person weighs the same."""
        return 1.0 / np.bincount(self.person)[self.person]


def suitable(table: dict[str, np.ndarray]) -> np.ndarray:
    """Return which rows may be learned from: grown up, eyes open, mouth closed, and no painting (``left_out.txt``)."""
    left_out = set(LEFT_OUT.read_text().split("\n"))
    named = np.array([f"{c}/{n}" in left_out for c, n in zip(table["collection"], table["name"], strict=True)])
    return (
        ~named & (table["age"] >= YOUNGEST) & (table["opening"] < OPEN_MOUTH) & (table["lids"] > CLOSED_EYES)
    )  # fmt: skip


def people(embeddings: np.ndarray) -> np.ndarray:
    """Return the numbers (N,) of people for dlib embeddings (N, 128): each face joins the first person that is near enough."""
    found: list[np.ndarray] = []
    numbers = np.zeros(len(embeddings), np.int64)
    for row, one in enumerate(embeddings):
        distances = [float(np.linalg.norm(one - other)) for other in found]
        if distances and min(distances) < SAME_PERSON:
            numbers[row] = int(np.argmin(distances))
        else:
            numbers[row] = len(found)
            found.append(one)
    return numbers


def load_faces(folder: Path, collections: list[str]) -> Faces:
    """Read what ``gather`` wrote, keep what is suitable, tell people apart, and lay all faces on the mean mesh."""
    model, matte, goal = FaceModel.default(), embedded_matte("cpu"), mean_landmarks()
    tables, kept = [], []
    for name in collections:
        table = dict(np.load(folder / f"{name}.npz"))
        rows = np.flatnonzero(suitable(table))
        tables.append({key: value[rows] for key, value in table.items()})
        kept.append((np.load(folder / f"{name}.npy", mmap_mode="r"), rows))
    joined = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    count = len(joined["age"])
    layers = {key: np.zeros((count, SIZE, SIZE), np.uint8) for key in ("alpha", "seen")}
    layers |= {key: np.zeros((count, 3, SIZE, SIZE), np.uint8) for key in ("pictures", "colours")}
    stored = ((pictures[row], row) for pictures, rows in kept for row in rows)
    for number, (picture, _) in enumerate(tqdm(stored, total=count, mininterval=20, desc="laid on one mesh")):
        landmarks = joined["landmarks"][number].astype(np.float64)
        plain = np.ascontiguousarray(picture[..., :3])
        alpha = cut_out_person(plain, landmarks, matte)
        own = foreground_colours(plain, alpha)
        stack = np.dstack([plain, own, alpha * 255, picture[..., 3]]).astype(np.float32)
        laid = laid_on(torch.from_numpy(stack).permute(2, 0, 1)[None], landmarks, goal)[0]
        whole = laid.clamp(0, 255).round().byte().numpy()
        layers["pictures"][number], layers["colours"][number] = whole[:3], whole[3:6]
        layers["alpha"][number], layers["seen"][number] = whole[6], whole[7]
    shapes = model.without_head(off_canvas(joined["landmarks"]))
    person = people(joined["embedding"])
    return Faces(
        **layers, shapes=shapes.astype(np.float32),
        masculine=joined["masculine"].astype(np.float32), age=joined["age"].astype(np.float32),
        tone=tones(layers["pictures"], joined["grey"]), grey=joined["grey"], person=person,
        held_out=(person % HELD_OUT == HELD_OUT - 1) | (joined["split"] == "val"),
        embedding=joined["embedding"], scale=joined["scale"].astype(np.float32), names=joined["name"],
    )  # fmt: skip


def tones(pictures: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Rank the skin of each (N, 3, S, S) between the lightest (0) and the darkest (1); grey pictures get 0.5.

    By the individual typology angle of the cheeks, atan((L - 50) / b) in CIELAB (Chardon et al. 1991), as a rank.
    """
    x, y = (mean_landmarks()[[50, 280, 205, 425], axis].round().astype(int) for axis in (0, 1))
    angles = np.zeros(len(pictures))
    for number, picture in enumerate(pictures):
        patches = np.stack([picture[:, j - 8 : j + 9, i - 8 : i + 9] for i, j in zip(x, y, strict=True)])
        colour = np.median(patches, axis=(0, 2, 3)).astype(np.float32)[None, None] / 255
        light, _, yellow = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)[0, 0]
        angles[number] = np.arctan2(light - 50, max(1.0, yellow))
    ranks = np.full(len(pictures), 0.5, np.float32)
    coloured = np.flatnonzero(~grey)
    order = np.argsort(-angles[coloured])
    ranks[coloured[order]] = (np.arange(len(order)) + 0.5) / max(1, len(order))
    return ranks
