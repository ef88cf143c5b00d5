"""Measure a face model on validation clips; printed after a fit, or alone.

::

    python -m superface_hf.training.face_model.report --prepared .cache/prepared
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...data.prepared_set import PreparedClip, known_scores, load_clips
from ...face_model import topology
from ...face_model.linear import FaceModel
from ...motion.arkit import ARKIT_NAMES, EXPRESSION_REGIONS, FACE_MODEL_FILE, ArkitMaps

EYES = np.r_[topology.LEFT_EYE, topology.RIGHT_EYE]
LEAST_SPREAD = 0.03  # blendshapes that move less than this on val are not judged


def report(weights: Path, prepared: Path) -> None:
    """Print mesh errors, the stability of the neutral face, and how the blendshapes agree with the landmarker's."""
    model = FaceModel.load(weights)
    clips = list(load_clips(prepared, "val", pictures=False))
    mesh_errors(model, clips)
    neutral_faces(model, clips)
    blendshapes(model, ArkitMaps.load(weights), clips)


def picture_landmarks(clip: PreparedClip) -> np.ndarray:
    """Return the landmarks (T, 478, 3), IMAGE coordinates, of the frames with a face."""
    return clip.landmarks[clip.found] * (2 / max(clip.size)) - np.array([1, 1, 0])


def mesh_error(found: np.ndarray, truth: np.ndarray, points: np.ndarray | slice = slice(None)) -> float:
    """Return the mean distance in the picture, % of the inter-ocular distance."""
    distance = np.linalg.norm(found[:, points, :2] - truth[:, points, :2], axis=-1).mean(1)
    return float(100 * (distance / topology.inter_ocular(truth[..., :2])).mean())


def mesh_errors(model: FaceModel, clips: list[PreparedClip]) -> None:
    print("mesh error, % of the inter-ocular distance: fitted all / lips / eyes, driven from frame 0 all / lips / eyes")
    rows = []
    for clip in clips:
        truth = picture_landmarks(clip)
        _, still = model.fit(truth[:1], clip.fps)
        first = model.neutral_shape(truth[0], still)
        fitted = model.animate(*model.fit(truth, clip.fps)).numpy()
        driven = model.animate(first, model.fit_frames(first, truth, clip.fps)).numpy()
        parts: tuple[np.ndarray | slice, ...] = (slice(None), topology.LIPS, EYES)
        rows.append([mesh_error(faces, truth, part) for faces in (fitted, driven) for part in parts])
        print(f"{clip.name} ({len(truth)} frames)", *(f"{value:.2f}" for value in rows[-1]))
    print("mean", *(f"{value:.2f}" for value in np.mean(rows, axis=0)))


def neutral_faces(model: FaceModel, clips: list[PreparedClip]) -> None:
    """Compare one person's neutral face from two halves of a clip, and from single frames, against that of other people."""
    halves, singles, neutrals = [], [], []
    for clip in clips:
        truth = picture_landmarks(clip)
        middle = len(truth) // 2
        whole = model.fit(truth, clip.fps)[0].points.numpy()
        one, other = (model.fit(part, clip.fps)[0].points.numpy() for part in (truth[:middle], truth[middle:]))
        halves.append(_distance(one, other))
        frames = truth[np.linspace(0, len(truth) - 1, 20).astype(int)]
        singles += [_distance(model.fit(frame[None], clip.fps)[0].points.numpy(), whole) for frame in frames]
        neutrals.append(whole)
    others = [_distance(a, b) for i, a in enumerate(neutrals) for b in neutrals[:i]]
    print(f"neutral faces differ by {np.mean(halves):.2f}% between halves of a clip, {np.mean(singles):.2f}% between one "
          f"frame and its clip, {np.mean(others):.2f}% between people (frontal, mean over points)")  # fmt: skip


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(100 * np.linalg.norm(a[:, :2] - b[:, :2], axis=-1).mean())


def blendshapes(model: FaceModel, maps: ArkitMaps, clips: list[PreparedClip]) -> None:
    """Return the correlation of the scores read from fitted motions with the landmarker's scores within clips."""
    pairs = list(_score_changes(model, maps, clips))
    ours, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    judged = [slot for slot in range(len(ARKIT_NAMES)) if theirs[:, slot].std() > LEAST_SPREAD]
    for slot in judged:
        print(f"{ARKIT_NAMES[slot]}: correlation {np.corrcoef(ours[:, slot], theirs[:, slot])[0, 1]:.2f}")


def _score_changes(
    model: FaceModel, maps: ArkitMaps, clips: list[PreparedClip]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for clip in clips:
        motion = model.fit(picture_landmarks(clip), clip.fps)[1]
        scores = [getattr(motion, region) @ maps.to_scores[region] for region in EXPRESSION_REGIONS]
        ours = np.clip(np.sum(scores, axis=0), 0, 1)
        theirs = known_scores(clip.blendshapes)[clip.found]
        yield ours - ours.mean(0), theirs - theirs.mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"))
    parser.add_argument("--weights", type=Path, default=FACE_MODEL_FILE)
    args = parser.parse_args()
    report(args.weights, args.prepared)


if __name__ == "__main__":
    main()
