"""The protocols ``self`` and ``degraded``: a clip's first frame, driven by the clip's own motion, must become its later
frames.

The protocol ``degraded`` does the same from a degraded copy of that frame; the target stays clean. Its landmarks are
those of the clean frame, so that the renderers are compared and not the tracker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from ..metrics.features import frechet_distance
from ..metrics.temporal import temporal_flicker
from .data import Reenactment, TrackedClip
from .expression import ExpressionChanges
from .methods import METHODS, Methods
from .scoring import FrameScorer, mouth_gap
from .sheets import CELL, cell

DEGRADATION_SEED = 20_000


@dataclass
class ReenactmentResults:
    """Results: clip -> method -> name -> value, and a contact sheet with one row of cells a clip.

    ``expressions`` is None where changes of expression are not collected.
    """

    expressions: ExpressionChanges | None = None
    clips: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    rows: list[list[Image.Image]] = field(default_factory=list)
    pooled: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def mean(self) -> dict[str, dict[str, float]]:
        """Return the means over clips; the distance of the feature sets is that of all clips' frames together."""
        names = list(next(iter(self.clips.values()))[METHODS[0]])
        means = {
            method: {name: nan_mean([clip[method][name] for clip in self.clips.values()]) for name in names}
            for method in METHODS
        }
        target = np.concatenate(self.pooled["target"])
        for method in METHODS:
            means[method]["frechet"] = frechet_distance(np.concatenate(self.pooled[method]), target)
        return means


def reenact(clip: TrackedClip, methods: Methods, scorer: FrameScorer, results: ReenactmentResults) -> None:
    """Render and score one clip by all methods, and add it to the results."""
    spread, window = clip.spread, clip.window
    rendered = methods.render(spread.source, spread.source_landmarks, spread.driving, spread.side)
    scores, target_pooled = scorer.score(rendered, spread)
    results.clips[spread.name] = {method: scores[method].means() for method in METHODS}
    for method in METHODS:
        results.pooled.setdefault(method, []).append(scores[method].pooled)
    results.pooled.setdefault("target", []).append(target_pooled)
    results.rows.append(_row(spread, rendered))
    if results.expressions is not None:
        results.expressions.add(spread, rendered, scorer.landmarker)
    if len(window.targets) >= 3:
        rendered = methods.render(window.source, window.source_landmarks, window.driving, window.side)
    for method in METHODS:
        flicker = temporal_flicker(rendered[method], window.targets) if len(window.targets) >= 3 else float("nan")
        results.clips[spread.name][method]["flicker"] = flicker


class FixedDegradation:
    """Degrades each clip's source in its own way, always the same: second order (Real-ESRGAN, section 3), seeded by its
    index."""

    def __init__(self) -> None:
        from ..data.degradations import DegradationConfig, DegradationRound, SourceDegradation

        # The strengths are written out: they must not change with the training's.
        first = DegradationRound(
            blur=1.0, blur_sigma=(0.8, 2.5), scale=(0.4, 0.8), noise=1.0, noise_level=(3.0, 12.0),
            photons=(200.0, 1000.0), quality=(40.0, 80.0),
        )  # fmt: skip
        second = DegradationRound(
            blur=1.0, blur_sigma=(0.3, 1.2), scale=(0.4, 0.8), noise=1.0, noise_level=(2.0, 8.0),
            photons=(300.0, 2000.0), quality=(40.0, 80.0),
        )  # fmt: skip
        self._degrade = SourceDegradation(DegradationConfig(share=1.0, half=0.5, first=first, second=second))

    def __call__(self, clip: TrackedClip, place: int) -> TrackedClip:
        generator = torch.Generator().manual_seed(DEGRADATION_SEED + place)
        source = self._degrade(clip.spread.source, generator)
        return TrackedClip(replace(clip.spread, source=source), replace(clip.window, source=source))


def nan_mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    numbers = [value for value in values if np.isfinite(value)]
    return float(np.mean(numbers)) if numbers else float("nan")


def _row(clip: Reenactment, rendered: dict[str, np.ndarray]) -> list[Image.Image]:
    """Return a row of the sheet: source; then target, flow, layers and teacher of the frames with the greatest change
    of the mouth, and of the whole face."""
    rest = clip.source_landmarks.numpy()[0]
    mouth = int(np.abs(mouth_gap(clip.target_landmarks) - mouth_gap(rest)).argmax())
    change = np.linalg.norm(clip.driving.numpy()[..., :2] - rest[:, :2], axis=-1).mean(-1)
    change[mouth] = -1.0
    cells = [cell(rendered["source"][0], CELL)]
    for index in (mouth, int(change.argmax())):
        shown = (clip.targets, rendered["flow"], rendered["layers"], rendered["teacher"])
        cells += [cell(picture[index], CELL) for picture in shown]
    return cells
