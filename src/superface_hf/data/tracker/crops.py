"""Pictures and labels for the tracker: who is in which split, upright crops kept in memory, places without a face."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ...media import load_picture, open_picture
from ...models.tracker.crops import FaceCrop
from ...utils.files import write_arrays
from ..jpeg import decode_jpeg
from ..prepared_set import load_clips, load_portraits

# Every fifth portrait is held out, in both tables.
HOLD_OUT = 5
# A drawn box or subtitles over the face.
SKIPPED_CLIPS = frozenset({"train_461", "train_463", "train_514", "train_515"})
# Face-free pictures that scikit-image carries: those for training and those only for the test.
FACELESS_TRAIN = (
    "brick.png", "cell.png", "chelsea.png", "clock_motion.png", "coins.png", "color.png", "grass.png", "horse.png",
    "ihc.png", "microaneurysms.png", "page.png", "phantom.png",
)  # fmt: skip
FACELESS_TEST = (
    "coffee.png", "gravel.png", "hubble_deep_field.jpg", "logo.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg", "text.png", "chessboard_RGB.png",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """An encoded picture and the faces known in it.

    Attributes:
        domain: "clips", "portraits_small" or "portraits_large".
        person: who is in it, as well as the file tells; portraits are one person each.
        number: frame of the clip or number of the portrait.
        faces: (N, 478, 3) pixels; N is 0 where the official landmarker saw nobody (a face may still be there).
    """

    domain: str
    person: str
    number: int
    jpeg: bytes
    faces: np.ndarray

    def picture(self) -> np.ndarray:
        """Return the picture (H, W, 3) uint8."""
        return decode_jpeg(self.jpeg)


def person_of(repo: str, path: str) -> str:
    """Return a name for the person of a clip: one for all clips of an actor or speaker that the path gives away."""
    if actor := re.search(r"(?<![A-Za-z])([MW]\d{3})(?!\d)", path):
        return f"MEAD {actor[1]}"
    if repo in ("filyp/mcgurk_task", "arielephrat/vid2speech"):
        return repo
    if speaker := re.search(r"_(s\d+)_", path):
        return f"GRID {speaker[1]}"
    return f"{repo}/{re.sub(r'[0-9]+(?=[^/]*$)', '', path)}"


def clip_sources(prepared: Path, split: str, frames: int) -> Iterator[Source]:
    """Yield at most ``frames`` pictures, evenly spaced, of every clip of a split."""
    for clip in load_clips(prepared, split):
        if clip.name in SKIPPED_CLIPS:
            continue
        origin = clip.origin
        person = person_of(origin.repo, origin.path) if origin.path else clip.person
        count = len(clip.jpegs)
        for position in np.unique(np.linspace(0, count - 1, min(frames, count)).astype(int)):
            index = int(clip.jpeg_index[position])
            yield Source("clips", person, index, clip.jpegs[position], clip.landmarks[index][None])


def portrait_sources(prepared: Path, name: str, held_out: bool) -> Iterator[Source]:
    """Yield the pictures of a portrait table that are for training, or those held out for validation."""
    portraits = load_portraits(prepared, name)
    for number, jpeg in enumerate(portraits.jpegs):
        if (number % HOLD_OUT == 0) == held_out:
            faces = portraits.landmarks[portraits.picture_of == number]
            yield Source(name, f"{name} {number}", number, jpeg, faces)


def all_sources(prepared: Path, held_out: bool, frames: int = 40) -> list[Source]:
    """Yield the training or validation pictures of all three domains; training leaves out twins of validation portraits."""
    split = "val" if held_out else "train"
    sources = list(clip_sources(prepared, split, frames))
    for name in ("portraits_small", "portraits_large"):
        found = list(portrait_sources(prepared, name, held_out))
        if not held_out:
            found = _without_twins(found, list(portrait_sources(prepared, name, True)))
        sources += found
    return sources


def _without_twins(sources: list[Source], others: list[Source]) -> list[Source]:
    """Leave out sources that look like another one: the tables repeat some pictures."""

    def thumbnails(group: list[Source]) -> np.ndarray:
        rows = []
        for source in group:
            with open_picture(source.jpeg) as picture:
                picture.draft("L", (64, 64))
                small = picture.convert("L").resize((16, 16), Image.Resampling.BOX)
            row = np.asarray(small, np.float32).ravel()
            rows.append((row - row.mean()) / (row.std() * 16 + 1e-6))
        return np.stack(rows)

    alike = (thumbnails(sources) @ thumbnails(others).T).max(axis=1) > 0.97
    return [source for source, twin in zip(sources, alike, strict=True) if not twin]


@dataclass(frozen=True)
class CropSet:
    """Upright crops, wider than the network's so that training can turn, shift and scale them.

    Attributes:
        pictures: (N, S, S, 3) uint8, ``margin`` times the face's longer side wide.
        points: (N, 478, 3) float32 in units of that crop ([-1, 1]).
        weights: (N,) float64 sampling weights that sum to 1, even over the people of a domain.
    """

    pictures: np.ndarray
    points: np.ndarray
    weights: np.ndarray

    def save(self, path: Path) -> None:
        write_arrays(path, {"pictures": self.pictures, "points": self.points, "weights": self.weights})

    @classmethod
    def load(cls, path: Path) -> CropSet:
        with np.load(path) as data:
            return cls(data["pictures"], data["points"], data["weights"])


def build_crops(sources: list[Source], size: int, margin: float, shares: dict[str, float]) -> CropSet:
    """Return the crops of every labelled face.

    Args:
        shares: how much of training each domain gets.
    """
    pictures, points, people, domains = [], [], [], []
    for source in tqdm(sources, desc="crops", mininterval=5):
        picture = source.picture() if len(source.faces) else None
        for landmarks in source.faces:
            assert picture is not None
            crop = FaceCrop.around(landmarks, margin)
            pictures.append(crop.cut(picture, size))
            points.append(crop.to_crop(landmarks))
            people.append(source.person)
            domains.append(source.domain)
    return CropSet(np.stack(pictures), np.stack(points), sampling_weights(domains, people, shares))


def sampling_weights(domains: list[str], people: list[str], shares: dict[str, float]) -> np.ndarray:
    """Return (N,) weights summing to 1: each domain has its share, each person of it the same, each picture of one the same."""
    persons = {name: {p for p, d in zip(people, domains, strict=True) if d == name} for name in set(domains)}
    counts: dict[str, int] = {}
    for person in people:
        counts[person] = counts.get(person, 0) + 1
    weights = np.array(
        [shares[d] / len(persons[d]) / counts[p] for d, p in zip(domains, people, strict=True)], np.float64
    )
    return weights / weights.sum()


def faceless_pictures(names: tuple[str, ...]) -> list[np.ndarray]:
    """Return the pictures without a face from scikit-image's data folder, (H, W, 3) uint8 each."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [load_picture(folder / name) for name in names]


def background_crops(
    source: Source, generator: np.random.Generator, count: int, smallest: int = 48
) -> list[np.ndarray]:
    """Return up to ``count`` square parts of a labelled picture that keep clear of its faces (hair and neck included)."""
    if not len(source.faces):
        return []
    picture = source.picture()
    height, width = picture.shape[:2]
    low, high = source.faces[..., :2].min(axis=1), source.faces[..., :2].max(axis=1)
    grow = (high - low) * np.array([0.15, 0.25])
    low, high = low - grow, high + grow
    found: list[np.ndarray] = []
    for _ in range(20 * count):
        if len(found) == count:
            break
        side = int(generator.integers(smallest, max(smallest + 1, min(height, width) * 2 // 3)))
        if side >= min(height, width):
            continue
        x, y = int(generator.integers(0, width - side)), int(generator.integers(0, height - side))
        apart = (x >= high[:, 0]) | (y >= high[:, 1]) | (x + side <= low[:, 0]) | (y + side <= low[:, 1])
        if apart.all():
            found.append(picture[y : y + side, x : x + side])
    return found


def mirror_map(points: np.ndarray) -> np.ndarray:
    """Return the index (478,) of each point's twin on the other side of the face, found on the mean shape.

    Args:
        points: (N, 478, 3) upright crops' landmarks.
    """
    mean = points.mean(axis=0)
    mean = mean - [mean[:, 0].mean(), 0, 0]
    distance = np.linalg.norm(mean[:, None] * [-1, 1, 1] - mean[None], axis=-1)
    rows, columns = linear_sum_assignment(distance**2)
    twins = np.empty(len(mean), np.int64)
    twins[rows] = columns
    return twins
