"""Evaluate a teacher against the plain mesh flow, the untrained layers and the unchanged source, by six protocols in
one run."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm.auto import tqdm

from ..errors import MediaError, SuperFaceError
from ..models.teacher.modeling_teacher import SuperFaceTeacherModel
from ..models.tracker.base import FaceTracker
from ..utils.progress import no_bars
from .colour import colour_shifts
from .cross import CLIPS as CROSS_CLIPS
from .cross import COMPARED, CrossResults, DrivingClip, reenact_portrait
from .data import NamedPortrait, check_portraits, find_portraits, track_clip, validation_clips
from .expression import ExpressionChanges
from .methods import Methods
from .plots import check_matplotlib, plot_clips, plot_regions
from .reenactment import FixedDegradation, ReenactmentResults, reenact
from .regions import cross_talk, obedience, region_independence
from .report import region_table, slope_table, table, turn_table
from .scoring import FrameScorer
from .sheets import write_sheet
from .turns import CLIP_HEADINGS, PORTRAIT_HEADINGS, TurnResults
from .verdict import Verdict, verdicts

PROTOCOLS = ("self", "cross", "degraded", "regions", "colour", "turns")
REENACTING = ("self", "degraded", "cross")
WITH_CLIPS = (*REENACTING, "turns")
WITH_PORTRAITS = ("cross", "regions", "colour", "turns")
# Regions are driven on the first portraits only: 5 regions times 3 steps each. Heads turn on as many: 3 turns before 2 walls.
REGION_PORTRAITS = TURN_PORTRAITS = 6
_SHOWN = ("target", "plain mesh flow", "untrained layers", "teacher")
REENACTMENT_HEADINGS = ("source", *_SHOWN, *_SHOWN)


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation.

    Attributes:
        data: folder with ``clips/val_*.mp4`` and ``portraits_large.parquet``.
        out: folder that tables, plots and contact sheets are written to.
        protocols: some of ``PROTOCOLS``.
        clips: at most so many clips; None is all.
        frames: targets of each clip, evenly spread.
        window: consecutive targets of each clip, for the flicker.
        portraits: for cross-reenactment and colours; regions and turns take the first few of them.
        dtype: of the teacher, "float32" or "bfloat16" (by autocast).
        batch: frames rendered at a time.
        landmarker: MediaPipe's ``face_landmarker.task``, which measures expressions; None is the embedded tracker.
    """

    data: Path
    out: Path
    protocols: tuple[str, ...] = PROTOCOLS
    clips: int | None = None
    frames: int = 24
    window: int = 8
    portraits: int = 20
    dtype: str = "float32"
    batch: int = 4
    landmarker: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or not self.protocols:
            raise SuperFaceError(f"Protocols are {', '.join(PROTOCOLS)}, not {', '.join(unknown) or 'none'}.")
        for name, least in (("frames", 1), ("window", 3), ("portraits", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise SuperFaceError(f"--{name} must be at least {least}, not {getattr(self, name)}.")
        if self.clips is not None and self.clips < 1:
            raise SuperFaceError(f"--clips must be at least 1, not {self.clips}.")

    def wants(self, *protocols: str) -> bool:
        """Return whether any of the protocols is requested."""
        return bool(set(protocols) & set(self.protocols))

    def check_data(self) -> None:
        """Raise MediaError if clips, portraits or the landmarker are missing that the protocols need."""
        if self.landmarker is not None and not self.landmarker.is_file():
            raise MediaError(f"There is no face landmarker at {self.landmarker}: pass its file with --landmarker FILE.")
        if self.wants(*WITH_CLIPS):
            validation_clips(self.data, self.clips)
        if self.wants(*WITH_PORTRAITS):
            check_portraits(self.data)


@dataclass
class TeacherEvaluation:
    """Results by protocol, the targets, packages that are not installed, and the duration."""

    protocols: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def verdicts(self) -> list[Verdict]:
        return verdicts(self.protocols)

    def __str__(self) -> str:
        parts = [table(self.protocols)]
        if "self" in self.protocols:
            parts.append(slope_table(self.protocols["self"]["expressions"]))
        if "turns" in self.protocols:
            parts.append(turn_table(self.protocols["turns"]))
        if "regions" in self.protocols:
            parts.append(region_table(self.protocols["regions"]))
        if "cross" in self.protocols:
            parts.append("Least alike their portrait: " + ", ".join(self.protocols["cross"]["least_alike"]))
        parts.append("Wanted and measured:\n" + "\n".join(str(verdict) for verdict in self.verdicts()))
        parts += [f"Left out: {line}" for line in self.missing]
        return "\n\n".join(part for part in parts if part)

    def save(self, path: Path, settings: EvaluationSettings, model: str) -> None:
        """Write the results as JSON."""
        content = {
            "model": model,
            "settings": {name: getattr(settings, name) for name in ("clips", "frames", "window", "portraits", "dtype")},
            "threads": torch.get_num_threads(),
            "seconds": round(self.seconds, 1),
            "missing": self.missing,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts()],
            "protocols": self.protocols,
        }
        path.write_text(json.dumps(_plain(content), indent=1), encoding="utf-8")


def load_teacher(model: str, device: str = "cpu") -> SuperFaceTeacherModel:
    """Load a teacher by its folder or Hub id, in float32.

    Raises:
        SuperFaceError: it cannot be loaded.
    """
    try:
        teacher = SuperFaceTeacherModel.from_pretrained(model, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise SuperFaceError(f"The teacher {model} cannot be loaded: {error}") from error
    return teacher.to(device=device, memory_format=torch.channels_last).eval()


def evaluate_teacher(
    teacher: SuperFaceTeacherModel, tracker: FaceTracker, settings: EvaluationSettings
) -> TeacherEvaluation:
    """Run the protocols, and write contact sheets and plots into ``settings.out``.

    Raises:
        MediaError: clips or portraits are missing; before anything is rendered.
        SuperFaceError: something that is needed is not installed.
    """
    started = time.perf_counter()
    settings.check_data()
    check_matplotlib()
    settings.out.mkdir(parents=True, exist_ok=True)
    methods = Methods(teacher, getattr(torch, settings.dtype), settings.batch)
    scorer = FrameScorer(tracker, teacher.device, settings.landmarker)
    evaluation = TeacherEvaluation(missing=scorer.missing)
    driving = _evaluate_clips(methods, scorer, settings, evaluation) if settings.wants(*REENACTING) else []
    if settings.wants(*WITH_PORTRAITS):
        portraits = find_portraits(settings.data, settings.portraits, tracker, methods.size)
        _evaluate_portraits(portraits, driving, methods, scorer, settings, evaluation)
        if settings.wants("turns"):
            _evaluate_turns(portraits[:TURN_PORTRAITS], methods, tracker, settings, evaluation)
    evaluation.seconds = time.perf_counter() - started
    return evaluation


def _evaluate_clips(
    methods: Methods, scorer: FrameScorer, settings: EvaluationSettings, evaluation: TeacherEvaluation
) -> list[DrivingClip]:
    """Run the protocols ``self`` and ``degraded`` with one clip in memory at a time, and return the clips' data for
    ``cross``."""
    # The expression of a degraded source cannot be measured reliably.
    changes = {"self": ExpressionChanges(), "degraded": None}
    results = {name: ReenactmentResults(changes[name]) for name in changes if name in settings.protocols}
    degradation = FixedDegradation() if "degraded" in results else None
    paths = validation_clips(settings.data, settings.clips)
    if not results:
        paths = paths[:CROSS_CLIPS]
    driving = []
    for place, path in enumerate(tqdm(paths, desc="clips", disable=no_bars())):
        clip = track_clip(path, settings.frames, settings.window, scorer.tracker)
        if place < CROSS_CLIPS:
            driving.append(DrivingClip.of(clip.spread))
        if "self" in results:
            reenact(clip, methods, scorer, results["self"])
        if degradation is not None:
            reenact(degradation(clip, place), methods, scorer, results["degraded"])
    for name, result in results.items():
        evaluation.protocols[name] = {"mean": result.mean(), "clips": result.clips}
        if result.expressions is not None:
            slopes = {"measured_by": scorer.landmarker.name, "slopes": result.expressions.slopes()}
            evaluation.protocols[name]["expressions"] = slopes
        write_sheet(
            settings.out / f"{name}.png",
            REENACTMENT_HEADINGS,
            list(zip(result.clips, result.rows, strict=True)),
        )
        plot_clips(settings.out / f"{name}_clips.png", f"{name}-reenactment", result.clips)
    return driving


def _evaluate_portraits(
    portraits: list[NamedPortrait],
    driving: list[DrivingClip],
    methods: Methods,
    scorer: FrameScorer,
    settings: EvaluationSettings,
    evaluation: TeacherEvaluation,
) -> None:
    """Run the protocols ``cross``, ``regions`` and ``colour``."""
    if "cross" in settings.protocols:
        cross = CrossResults()
        for item in tqdm(portraits, desc="cross", disable=no_bars()):
            reenact_portrait(item, driving, methods, scorer, cross)
        headings = ["portrait", *(clip.name for clip in driving)]
        for method in COMPARED:
            top = ("driving", [Image.new("RGB", driving[0].picture.size, "white"), *(clip.picture for clip in driving)])
            write_sheet(settings.out / f"cross_{method}.png", headings, [top, *cross.rows[method]])
        evaluation.protocols["cross"] = {
            "mean": cross.mean(),
            "pairs": cross.pairs,
            "least_alike": cross.least_alike(),
        }
    if "regions" in settings.protocols:
        moved = region_independence(portraits[:REGION_PORTRAITS], methods, scorer.tracker)
        regions = {
            "movement": moved,
            "cross_talk": cross_talk(moved["measured"]),
            "optical_cross_talk": cross_talk(moved["optical"]),
            "commanded_cross_talk": cross_talk(moved["commanded"]),
            "obedience": obedience(moved),
        }
        evaluation.protocols["regions"] = regions
        plot_regions(settings.out / "regions.png", regions)
    if "colour" in settings.protocols:
        evaluation.protocols["colour"] = {"portraits": colour_shifts(portraits, methods)}


def _evaluate_turns(
    portraits: list[NamedPortrait],
    methods: Methods,
    tracker: FaceTracker,
    settings: EvaluationSettings,
    evaluation: TeacherEvaluation,
) -> None:
    """Run the protocol ``turns``."""
    results = TurnResults()
    for path in tqdm(validation_clips(settings.data, settings.clips), desc="turning clips", disable=no_bars()):
        results.add_clip(path, methods, tracker)
    for item in tqdm(portraits, desc="turning portraits", disable=no_bars()):
        results.add_portrait(item, methods)
    evaluation.protocols["turns"] = results.as_dict()
    write_sheet(settings.out / "turns.png", CLIP_HEADINGS, results.clip_rows)
    write_sheet(settings.out / "turns_lines.png", PORTRAIT_HEADINGS, results.portrait_rows)


def _plain(value: Any) -> Any:
    """Return values for JSON: rounded floats, and null for NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
