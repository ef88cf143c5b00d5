"""The protocol ``turns``: heads turn by 10, 20 and 30 degrees; hair must stay sharp, the outline right, and the
background unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..layers.matting import cut_out_person
from ..metrics.outline import outline_overlap
from ..metrics.sharpness import hair_mask, sharpness_ratio
from ..models.tracker.base import FaceTracker
from .data import NamedPortrait, Reenactment, turned_pairs
from .methods import MOVING, TITLES, Methods
from .reenactment import nan_mean
from .sheets import CELL, cell
from .straightness import wall_figures

DEGREES = (10, 20, 30)
# The number of frames of each clip, evenly spaced, that are searched for turns.
LOOKED_AT = 48
OF_CLIPS = ("sharpness_hair", "outline")
OF_WALLS = ("unchanged", "bend")
WALL_SEED = 30_000

Figures = dict[int, dict[str, dict[str, float]]]


@dataclass
class TurnResults:
    """Results: name of a clip or portrait -> turn -> method -> name -> value; and rows of contact sheets."""

    clips: dict[str, Figures] = field(default_factory=dict)
    portraits: dict[str, Figures] = field(default_factory=dict)
    clip_rows: list[tuple[str, list[Image.Image]]] = field(default_factory=list)
    portrait_rows: list[tuple[str, list[Image.Image]]] = field(default_factory=list)

    def add_clip(self, path: Path, methods: Methods, tracker: FaceTracker) -> None:
        """Add a validation clip, compared with its true frames, for the turns that it contains."""
        pairs = turned_pairs(path, DEGREES, LOOKED_AT, tracker)
        figures: Figures = {}
        cells: list[Image.Image] = []
        for degrees in DEGREES:
            if degrees not in pairs:
                cells += [Image.new("RGB", (CELL, CELL), "white")] * len(CLIP_CELLS)
                continue
            pair = pairs[degrees]
            rendered = methods.render(pair.source, pair.source_landmarks, pair.driving, pair.side)
            figures[degrees] = {method: clip_figures(rendered[method][0], pair, methods.matte) for method in MOVING}
            shown = (rendered["source"], pair.targets, *(rendered[method] for method in MOVING))
            cells += [cell(pictures[0], CELL) for pictures in shown]
        self.clips[path.stem] = figures
        self.clip_rows.append((path.stem, cells))

    def add_portrait(self, item: NamedPortrait, methods: Methods) -> None:
        """Add a portrait before a drawn wall of straight lines."""
        figures, cells = wall_figures(item, methods, DEGREES, WALL_SEED + len(self.portraits))
        self.portraits[item.name] = figures
        self.portrait_rows.append((item.name, cells))

    def mean(self) -> Figures:
        """Turn -> method -> name -> mean over the clips and portraits that have it."""
        return {
            degrees: {
                method: {
                    **_means(self.clips.values(), degrees, method, OF_CLIPS),
                    **_means(self.portraits.values(), degrees, method, OF_WALLS),
                }
                for method in MOVING
            }
            for degrees in DEGREES
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the results for JSON; ``counts`` are the numbers of clips and portraits of the means."""
        counts = {
            degrees: {
                "clips": sum(degrees in figures for figures in self.clips.values()),
                "portraits": len(self.portraits),
            }
            for degrees in DEGREES
        }
        return {"mean": self.mean(), "counts": counts, "clips": self.clips, "portraits": self.portraits}


CLIP_CELLS = ("source", "target", *(TITLES[method] for method in MOVING))
CLIP_HEADINGS = [f"{degrees} degrees: {name}" for degrees in DEGREES for name in CLIP_CELLS]
PORTRAIT_HEADINGS = [
    "drawn wall",
    *(f"{degrees} degrees: {TITLES[method]}" for degrees in DEGREES for method in MOVING),
]


def clip_figures(frame: np.ndarray, pair: Reenactment, matte: Any) -> dict[str, float]:
    """Return the sharpness of the hair in a frame (side, side, 3) relative to the pair's target, and the intersection
    over union of both outlines by the matte network."""
    target, landmarks = pair.targets[0], pair.target_landmarks[0]
    ours, theirs = (cut_out_person(picture, landmarks, matte) for picture in (frame, target))
    return {
        "sharpness_hair": sharpness_ratio(frame, target, hair_mask(landmarks, *target.shape[:2])),
        "outline": outline_overlap(ours, theirs),
    }


def _means(all_figures: Iterable[Figures], degrees: int, method: str, names: Iterable[str]) -> dict[str, float]:
    there = [figures[degrees][method] for figures in all_figures if degrees in figures]
    return {name: nan_mean([figures[name] for figures in there]) for name in names}
