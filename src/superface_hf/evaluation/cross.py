"""The protocol ``cross``: portraits driven by other people's clips. There is no true picture; the person must stay the
same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..animation.retargeting import Changes, Retargeter
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..layers.portrait import to_uint8
from ..metrics.identity import identity_distance, identity_similarity
from ..metrics.keypoints import expression_distance, pose_distance
from ..motion import Motion
from .data import NamedPortrait, Reenactment
from .methods import Methods
from .reenactment import nan_mean
from .scoring import FrameScorer, track
from .sheets import cell

CLIPS = 5
FRAMES = 3  # of each clip
COMPARED = ("flow", "teacher")
SMALL_CELL = 160  # pixels


@dataclass(frozen=True, eq=False)
class DrivingClip:
    """The data of a clip that cross-reenactment uses: its motion from the source frame on, and small pictures of the frames.

    ``chosen`` are indices into the motion; the last one moves the farthest, and is shown.
    """

    name: str
    motion: Motion
    chosen: list[int]
    picture: Image.Image

    @classmethod
    def of(cls, clip: Reenactment) -> DrivingClip:
        change = np.linalg.norm(clip.driving.numpy() - clip.source_landmarks.numpy(), axis=-1).mean(-1)
        farthest = int(change.argmax())
        others = np.linspace(0, len(change) - 1, FRAMES - 1).round().astype(int).tolist()
        chosen = [1 + index for index in dict.fromkeys([*others, farthest]) if index != farthest] + [1 + farthest]
        return cls(clip.name, clip.motion, chosen, cell(clip.targets[farthest], SMALL_CELL))


@dataclass
class CrossResults:
    """Results: "portrait / clip" -> method -> name -> value, and the cells of a contact sheet by method and portrait."""

    pairs: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    rows: dict[str, list[tuple[str, list[Image.Image]]]] = field(default_factory=lambda: {m: [] for m in COMPARED})

    def mean(self) -> dict[str, dict[str, float]]:
        names = list(next(iter(self.pairs.values()))[COMPARED[0]])
        return {
            method: {name: nan_mean([pair[method][name] for pair in self.pairs.values()]) for name in names}
            for method in COMPARED
        }

    def least_alike(self, count: int = 5) -> list[str]:
        """Return the pairs whose teacher frames resemble their portrait least, which deserve a look."""
        alike = {name: pair["teacher"]["identity"] for name, pair in self.pairs.items()}
        return sorted((name for name in alike if np.isfinite(alike[name])), key=lambda name: alike[name])[:count]


def reenact_portrait(
    item: NamedPortrait, clips: Sequence[DrivingClip], methods: Methods, scorer: FrameScorer, results: CrossResults
) -> None:
    """Drive one portrait with all clips, and add it to the results."""
    size = methods.size
    picture, own = to_uint8(item.image)[0], Square(0, 0, size).to_pixels(item.portrait.landmarks)
    identity = scorer.identity([picture], [own]) if scorer.identity else None
    cells = {method: [cell(picture, SMALL_CELL)] for method in COMPARED}
    for clip in clips:
        changes = Changes.checked(relative=True, edit=None, regions=None, fps=clip.motion.fps)
        moved, landmarks = Retargeter(item.portrait, changes, FaceModel.default())(clip.motion)
        driving = landmarks[clip.chosen]
        wanted = Motion.concatenate([moved[index] for index in clip.chosen])
        rendered = {
            "flow": methods.flow(item.image, item.landmarks, driving, size),
            "teacher": methods.render_teacher(item.image, item.landmarks, driving, size),
        }
        results.pairs[f"{item.name} / {clip.name}"] = {
            method: _figures(frames, wanted, item, identity, scorer) for method, frames in rendered.items()
        }
        for method, frames in rendered.items():
            cells[method].append(cell(frames[-1], SMALL_CELL))
    for method in COMPARED:
        results.rows[method].append((item.name, cells[method]))


def _figures(
    frames: np.ndarray, wanted: Motion, item: NamedPortrait, identity: np.ndarray | None, scorer: FrameScorer
) -> dict[str, float]:
    landmarks = track(scorer.tracker, frames)
    seen = np.flatnonzero(np.isfinite(landmarks[:, 0, 0]))
    figures = dict.fromkeys(("identity", "identity_distance", "expression", "pose"), float("nan"))
    figures["lost"] = 1 - len(seen) / len(frames)
    if len(seen) == 0:
        return figures
    square = Square(0, 0, frames.shape[1])
    found = FaceModel.default().fit_frames(item.portrait.shape, square.to_image(landmarks[seen]), wanted.fps)
    asked = Motion.concatenate([wanted[int(index)] for index in seen])
    figures["expression"] = float(expression_distance(found, asked).mean())
    figures["pose"] = float(pose_distance(found, asked).mean())
    if identity is not None and scorer.identity is not None:
        embeddings = scorer.identity([frames[index] for index in seen], list(landmarks[seen]))
        figures["identity"] = float(identity_similarity(embeddings, identity).mean())
        figures["identity_distance"] = float(identity_distance(embeddings, identity).mean())
    return figures
