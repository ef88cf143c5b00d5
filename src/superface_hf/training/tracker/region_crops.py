"""Gather the crops of a region of the face that its refiner learns from, out of a prepared set."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from tqdm import tqdm

from ...data.prepared_set import PreparedClip, load_clips
from ...data.tracker.crops import SKIPPED_CLIPS, Source, all_sources, person_of, sampling_weights
from ...errors import SuperFaceError
from ...models.tracker.crops import FaceCrop
from ...utils.settings import number
from .part import DomainShares
from .parts import PartSet, kept_to_tune, rarity, save_parts
from .regions import MeasuredRegion

# Side of the kept crops over the network's.
CROP_MARGIN = 1.35
T = TypeVar("T")
SETS: tuple[Literal["train", "tune", "val"], ...] = ("train", "tune", "val")
# No pose is drawn more or less often than the usual one by more than these factors.
RAREST = (0.15, 12.0)


@dataclass
class RegionCropsConfig(DomainShares):
    """Which crops are gathered.

    Attributes:
        person_frames: most pictures of one person, over all clips; half of them those with the rarest poses.
        tuning: one person in so many is kept out of training, to learn by how much movements must be stretched.
        val_frames: pictures of each validation clip.
        small: most of the small portraits.
        crop_pixels: side of the kept crops.
    """

    person_frames: int = number(90, low=1)
    tuning: int = number(12, low=1)
    val_frames: int = number(40, low=1)
    small: int = number(800, low=0)
    crop_pixels: int = number(160, low=16)
    clips: float = number(0.8, low=0)
    portraits_small: float = number(0.07, low=0)
    portraits_large: float = number(0.13, low=0)


def chosen_frames(prepared: Path, split: str, most: int, measured: MeasuredRegion) -> dict[str, list[int]]:
    """Choose of each clip the frames to take, of those kept as pictures: at most so many of a person (a clip, in
    validation), half of them those with the rarest poses, the rest spread evenly."""
    region = measured.region
    found, points, people = [], [], []
    for clip in load_clips(prepared, split, pictures=False):
        if clip.name in SKIPPED_CLIPS:
            continue
        index = clip.jpeg_index[clip.found[clip.jpeg_index]]
        found += [(clip.name, int(frame)) for frame in index]
        points += [region.to_crop(mesh, region.crop(mesh)) for mesh in clip.landmarks[index]]
        people += [_person(clip) if split == "train" else clip.name] * len(index)
    rare = rarity(measured.movement(np.stack(points)))
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, person in enumerate(people):
        rows_of[person].append(row)
    chosen: dict[str, list[int]] = defaultdict(list)
    for rows in rows_of.values():
        rarest = sorted(rows, key=lambda row: -rare[row])[: most // 2]
        rest = sorted(set(rows) - set(rarest))
        for row in [*rarest, *_evenly(rest, most - len(rarest))]:
            chosen[found[row][0]].append(found[row][1])
    return chosen


def _evenly(items: list[T], most: int) -> list[T]:
    """Return at most so many of the items, evenly spread."""
    places = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)).tolist()
    return [items[place] for place in places]


def _person(clip: PreparedClip) -> str:
    return clip.person or person_of(clip.origin.repo, clip.origin.path)


def crops(
    prepared: Path, config: RegionCropsConfig, measured: MeasuredRegion, name: Literal["train", "tune", "val"]
) -> PartSet:
    """Return the crops of one set: of training people and portraits, of people kept to tune the trained network, of validation
    clips."""
    region = measured.region
    pictures: list[np.ndarray] = []
    points, people, domains, groups = [], [], [], []

    def add(picture: np.ndarray, landmarks: np.ndarray, domain: str, person: str, group: str) -> None:
        tight = region.crop(landmarks)
        crop = FaceCrop(tight.x, tight.y, tight.size * CROP_MARGIN, tight.angle)
        pictures.append(crop.cut(picture, config.crop_pixels))
        points.append(region.to_crop(landmarks, crop))
        people.append(person)
        domains.append(domain)
        groups.append(group)

    split, most = ("val", config.val_frames) if name == "val" else ("train", config.person_frames)
    chosen = chosen_frames(prepared, split, most, measured)
    for clip in tqdm(load_clips(prepared, split), desc=f"{split} clips", mininterval=10):
        tuning = kept_to_tune(_person(clip), config.tuning)
        wanted = set(chosen.get(clip.name, ())) if name == "val" or tuning == (name == "tune") else set()
        for position, index in enumerate(clip.jpeg_index.tolist()):
            if index in wanted:
                add(clip.picture(position), clip.landmarks[index], "clips", _person(clip), clip.name)
    if name == "train":
        for source in portraits(prepared, config.small):
            for place, landmarks in enumerate(source.faces):
                add(source.picture(), landmarks, source.domain, source.person, f"{source.person} {place}")
    if not len(points):
        raise SuperFaceError(f"{prepared} has no clips to make the set {name!r} of: prepare more people.")
    mesh = np.stack(points)
    weights = sampling_weights(domains, people, config.shares) * rarity(measured.movement(mesh)).clip(*RAREST)
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    return PartSet(np.stack(pictures), mesh, np.array([names[group] for group in groups]), weights / weights.sum())


def portraits(prepared: Path, most: int) -> list[Source]:
    """Yield the training portraits, as the whole tracker's training takes them; of the small ones as many as are wanted."""
    sources = [source for source in all_sources(prepared, False, frames=1) if len(source.faces)]
    small = [source for source in sources if source.domain == "portraits_small"]
    large = [source for source in sources if source.domain == "portraits_large"]
    return large + _evenly(small, most)


def gather(path: Path, prepared: Path, config: RegionCropsConfig, measured: MeasuredRegion) -> None:
    """Write a file of crops, with the sets ``SETS``; see ``parts.load_parts``."""
    save_parts(path, **{name: crops(prepared, config, measured, name) for name in SETS})
