"""Compare the teacher's results with their targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """One result and its target; ``reached`` is None where it could not be measured."""

    name: str
    wanted: str
    measured: str
    reached: bool | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        word = {True: "reached", False: "NOT reached", None: "not measured"}[self.reached]
        return f"{self.name:<52} {self.wanted:>14} {self.measured:>22}  {word}"


def verdicts(protocols: dict[str, Any]) -> list[Verdict]:
    """Return the verdicts of the protocols that were run; ``protocols`` is the result of
    :func:`~superface_hf.evaluation.teacher.evaluate_teacher`."""
    result: list[Verdict] = []
    if "self" in protocols:
        result += _self(protocols["self"]["mean"])
        result += _slopes(protocols["self"]["expressions"]["slopes"]["teacher"])
    if "degraded" in protocols:
        mean = protocols["degraded"]["mean"]
        share = 1 - mean["teacher"]["perceptual"] / mean["flow"]["perceptual"]
        result.append(_at_least("degraded source: perceptual below the flow's", 0.25, share, "{:.1%}"))
    if "cross" in protocols:
        mean = protocols["cross"]["mean"]["teacher"]
        result.append(_at_most("cross: frames in which no face is found", 0.0, mean["lost"], "{:.1%}"))
    if "regions" in protocols:
        result += _regions(protocols["regions"]["cross_talk"])
    if "colour" in protocols:
        result += _colour(protocols["colour"]["portraits"])
    if "turns" in protocols:
        result += _turns(protocols["turns"]["mean"])
    return result


def _self(mean: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    flow, layers, teacher = mean["flow"], mean["layers"], mean["teacher"]
    yield _at_least("PSNR over the flow's, whole picture", 1.5, teacher["psnr"] - flow["psnr"], "{:+.2f} dB")
    yield _at_least(
        "PSNR over the flow's, eyes and mouth", 1.5, teacher["psnr_boxes"] - flow["psnr_boxes"], "{:+.2f} dB"
    )
    for name, judge in (("perceptual", "perceptual distance"), ("perceptual2", "the same, second judge,")):
        if name in teacher:
            yield _at_least(f"{judge} below the flow's", 0.25, 1 - teacher[name] / flow[name], "{:.1%}")
            yield _at_least(f"{judge} below the untrained layers'", 0.12, 1 - teacher[name] / layers[name], "{:.1%}")
    yield _at_most("keypoint distance, of the face's width", 1.5, teacher["keypoints"], "{:.2f}%")
    ratio = teacher["identity"] / flow["identity"]
    yield _at_least("identity similarity to the target, of the flow's own", 0.97, ratio, "{:.3f}")
    for region in ("hair", "skin"):
        yield _about_one(f"sharpness of the {region}, of the target's", teacher[f"sharpness_{region}"])


def _slopes(measures: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    for name, figures in measures.items():
        yield _about_one(f"expression slope: {name}", figures["slope"])


def _turns(mean: dict[int, dict[str, dict[str, float]]]) -> Iterator[Verdict]:
    """Yield the verdicts of the worst turn."""
    teacher = [methods["teacher"] for methods in mean.values()]
    unchanged, bend = (np.array([figures[name] for figures in teacher]) for name in ("unchanged", "bend"))
    yield _at_least("turns: pixels unchanged where nobody is", 1.0, float(unchanged.min()), "{:.3%}")
    yield _at_most("turns: bend of straight lines, in pixels", 0.5, float(bend.max()), "{:.2f}")


def _regions(shares: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    for driven, row in shares.items():
        worst = max(row, key=lambda region: row[region])
        yield _at_most(f"{driven} driven: movement of the {worst}", 0.1, row[worst], "{:.1%}")


def _colour(portraits: dict[str, dict[str, dict[str, float]]]) -> Iterator[Verdict]:
    for place in ("face", "background"):
        worst = [max(move[place] for move in moves.values() if place in move) for moves in portraits.values()]
        yield _at_most(f"colour of the {place}, worst portrait, in 1/255", 1.5, max(worst), "{:.2f}")


def _about_one(name: str, measured: float) -> Verdict:
    reached = bool(abs(measured - 1) <= 0.1) if np.isfinite(measured) else None
    return Verdict(name, "0.90 to 1.10", f"{measured:.3f}", reached)


def _at_least(name: str, wanted: float, measured: float, form: str) -> Verdict:
    reached = bool(measured >= wanted) if np.isfinite(measured) else None
    return Verdict(name, "at least " + form.format(wanted), form.format(measured), reached)


def _at_most(name: str, wanted: float, measured: float, form: str) -> Verdict:
    reached = bool(measured <= wanted) if np.isfinite(measured) else None
    return Verdict(name, "at most " + form.format(wanted), form.format(measured), reached)
