"""Fit the linear face model on tracked clips and portraits, and print how well it does on val clips.

::

    python -m superface_hf.training.face_model.trainer --prepared .cache/prepared --out src/superface_hf/weights/face_model

Steps: lay every frame on the mean face (similarity on the stable points); take from each clip its neutral face by
regressing out what the blendshape scores explain; principal components of the remaining offsets, one basis a region, with
mirrored data so that left and right agree; principal components of the neutral faces; linear maps to and from the scores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from ...data.prepared_set import PreparedClip, known_scores, load_clips, load_portraits
from ...face_model import topology
from ...face_model.linear import FaceModel, turn_features
from ...face_model.regions import (
    gaze_basis,
    left_share,
    mirror_map,
    near_lids,
    region_memberships,
    sculpted_shapes,
    triangulate,
)
from ...motion.arkit import ARKIT_NAMES
from ...utils.files import write_tensors
from .arkit_maps import fit_arkit_maps, mirror_scores
from .report import report
from .template import align, build_template, centred, symmetric, upright

SIZES = {"mouth": 24, "eyes": 8, "brows": 5}  # eyes and brows: each side; the mouth gets the sculpted shapes too
# A sculpted shape at 1.0 counts as this many standard deviations.
SCULPTED_SPREAD = 3.0
IDENTITY_SIZE = 40
FRAMES_PER_CLIP = 60
SAME_PERSON = 0.035  # root mean square distance of two neutral faces, inter-ocular distances


@dataclass
class Frames:
    """Tracked faces laid on the mean: (N, 478, 3) canonical, with (N, 52) scores, (N, 3) rotations and (N,) owners."""

    points: np.ndarray
    scores: np.ndarray
    rotations: np.ndarray
    owner: np.ndarray
    weight: np.ndarray

    def select(self, chosen: np.ndarray) -> Frames:
        return Frames(*(getattr(self, field.name)[chosen] for field in fields(self)))


def usable_frames(clip: PreparedClip, limit: int) -> np.ndarray:
    """Return evenly spread indices of frames with a face."""
    found = np.flatnonzero(clip.found)
    return found[np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).astype(int))] if len(found) else found


def load_frames(prepared: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the landmarks (N, 478, 3), scores (N, 52) and owner (N,): clips first, then each portrait as an owner of its
    own."""
    landmarks, scores, owner = [], [], []
    clips = 0
    for clip in load_clips(prepared, "train", pictures=False):
        index = usable_frames(clip, FRAMES_PER_CLIP)
        if len(index) < 10:
            continue
        landmarks.append(clip.landmarks[index])
        scores.append(known_scores(clip.blendshapes)[index])
        owner.append(np.full(len(index), clips))
        clips += 1
    portraits = load_portraits(prepared)
    large = topology.inter_ocular(portraits.landmarks[..., :2]) > 40
    landmarks.append(portraits.landmarks[large])
    scores.append(known_scores(portraits.blendshapes)[large])
    owner.append(clips + np.arange(large.sum()))
    return np.concatenate(landmarks).astype(np.float64), np.concatenate(scores), np.concatenate(owner), clips


def owner_means(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return the mean of (N, ...) values over the frames of each owner, (owners, ...)."""
    count = np.bincount(owner)
    starts = np.flatnonzero(np.r_[True, np.diff(owner) > 0])
    return np.add.reduceat(values, starts) / count.reshape(-1, *[1] * (values.ndim - 1))


def weighted_ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float) -> np.ndarray:
    """Solve ``x @ result = y`` in weighted least squares; ``ridge`` is relative to the mean variance of x."""
    gram = (x * weight[:, None]).T @ x
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, (x * weight[:, None]).T @ y)


def neutral_scores(scores: np.ndarray) -> np.ndarray:
    """Return the landmarker's scores (52,) on a neutral face: typical for eyes and brows, low for the mouth."""
    low = np.percentile(scores, 15, axis=0)
    middle = np.median(scores, axis=0)
    is_mouth = np.array([name.startswith(("mouth", "jaw")) for name in ARKIT_NAMES])
    reference = np.where(is_mouth, low, middle)
    return (reference + mirror_scores(reference[None])[0]) / 2


def principal_components(
    offsets: np.ndarray, weight: np.ndarray, importance: np.ndarray, count: int
) -> tuple[np.ndarray, float]:
    """Return the leading components (count, 478, 3) of (N, 478, 3) offsets, each scaled to one standard deviation.

    ``importance`` (478, 3) weighs the squared errors. Also returns the share of the variance they explain.
    """
    metric = np.sqrt(importance).reshape(-1)
    active = metric > 1e-6
    rows = offsets.reshape(len(offsets), -1)[:, active] * metric[active]
    covariance = (rows * weight[:, None]).T @ rows / weight.sum()
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    basis = np.zeros((count, len(metric)))
    basis[:, active] = (vectors[:, :count] * np.sqrt(values[:count])).T / metric[active]
    return basis.reshape(count, -1, 3), float(values[:count].sum() / values.sum())


def mirrored(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    return points[:, mirror] * [-1.0, 1.0, 1.0]


def mirrored_rotations(vectors: np.ndarray) -> np.ndarray:
    return vectors * [1.0, -1.0, -1.0]


def fit_metric() -> np.ndarray:
    """Return the weights (478, 3) of squared errors: what people look at counts more, the landmarker's depth less."""
    importance = np.ones(topology.POINTS)
    importance[topology.FACE_OVAL] = 0.5
    importance[np.r_[topology.LEFT_BROW, topology.RIGHT_BROW]] = 2.0
    importance[topology.LIPS] = 4.0
    importance[np.r_[topology.LEFT_EYE, topology.RIGHT_EYE]] = 8.0
    return importance[:, None] * [1.0, 1.0, 0.3]


def owner_weights(owner: np.ndarray, neutrals: np.ndarray) -> np.ndarray:
    """Return the weights (N,) of frames such that each person counts alike: clips with nearly the same face share one
    weight."""
    flat = neutrals.reshape(len(neutrals), -1)
    square = (flat**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * flat @ flat.T, 0) / topology.POINTS)
    same = (distance < SAME_PERSON).sum(1)
    return 1 / (np.bincount(owner) * np.sqrt(same))[owner]


def separate(frames: Frames, mean: np.ndarray, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split aligned clip frames into what the scores, the head's turn and the person explain.

    Returns:
        by_scores (52, 478, 3) and by_turn (9, 478, 3), linear in ``scores`` and :func:`turn_features`.
    """
    x = np.concatenate([frames.scores, turn_features(frames.rotations)], 1)
    x_mirrored = np.concatenate([mirror_scores(frames.scores), turn_features(mirrored_rotations(frames.rotations))], 1)
    y, y_mirrored = frames.points - mean, mirrored(frames.points, mirror) - mean
    inner = [values - owner_means(values, frames.owner)[frames.owner] for values in (x, x_mirrored, y, y_mirrored)]
    x, y = np.concatenate(inner[:2]), np.concatenate(inner[2:])
    solution = weighted_ridge(x, y.reshape(len(y), -1), np.tile(frames.weight, 2), 3e-3).reshape(-1, topology.POINTS, 3)
    return solution[: len(ARKIT_NAMES)], solution[len(ARKIT_NAMES) :]


def expression_bases(
    offsets: np.ndarray, weight: np.ndarray, mean: np.ndarray, mirror: np.ndarray, metric: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the regional components of (N, 478, 3) offsets from each person's neutral face."""
    regions = region_memberships(mean)
    both = np.concatenate([offsets, mirrored(offsets, mirror)])
    weight = np.tile(weight, 2)
    bases = {}
    for region, size in SIZES.items():
        member = regions[region][:, None]
        if region != "mouth":
            member = member * left_share(mean)[:, None]
        basis, share = principal_components(both * member, weight, metric, size)
        print(f"{region}: {size} components explain {share:.1%} of the region's variance")
        bases[region] = basis if region == "mouth" else np.concatenate([basis, mirrored(basis, mirror)])
    # The components of moving lids, without the brow and the cheek that people often move at the same time.
    bases["eyes"] = bases["eyes"] * near_lids(mean)[:, None]
    sculpted = beyond(np.stack(list(sculpted_shapes(mean).values())), bases["mouth"], metric) / SCULPTED_SPREAD
    bases["mouth"] = np.concatenate([bases["mouth"], sculpted])
    return {**bases, "gaze": gaze_basis()}


def beyond(shapes: np.ndarray, basis: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Return the part of ``shapes`` (S, 478, 3) that the ``basis`` (N, 478, 3) does not span."""
    weight = metric.reshape(-1)
    rows, flat = basis.reshape(len(basis), -1), shapes.reshape(len(shapes), -1)
    known = np.linalg.solve((rows * weight) @ rows.T, (rows * weight) @ flat.T)
    return (flat - known.T @ rows).reshape(shapes.shape)


def save(tensors: dict[str, np.ndarray], path: Path) -> None:
    """Write the tensors: bases in half precision, the mean in single."""
    kinds = {"triangles": np.int64, "mirror": np.int64, "mean": np.float32}
    stored = {
        name: np.ascontiguousarray(
            array, kinds.get(name, np.float16 if "basis" in name or name == "metric" else np.float32)
        )
        for name, array in tensors.items()
    }
    tensors_of = {name: torch.from_numpy(array) for name, array in stored.items()}
    write_tensors(path, tensors_of, {"format": "superface-face-model", "version": "1"})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def fit_tensors(prepared: Path) -> dict[str, np.ndarray]:
    """Return all tensors of ``face_model.safetensors``."""
    landmarks, scores, owner, clips = load_frames(prepared)
    weight = 1 / np.bincount(owner)[owner]
    mean = centred(upright(build_template(landmarks, weight, None)))
    mirror = mirror_map(mean)
    mean = symmetric(upright(build_template(landmarks, weight, mirror)), mirror)
    points, rotations = align(landmarks, mean)
    reference = neutral_scores(scores)
    frames = Frames(points, scores - reference, rotations, owner, weight)
    in_clips = owner < clips
    by_scores, by_turn = separate(frames.select(in_clips), mean, mirror)

    residual = points - np.tensordot(frames.scores, by_scores, 1) - np.tensordot(turn_features(rotations), by_turn, 1)
    neutrals = owner_means(residual, owner)
    shift = symmetric(neutrals.mean(0), mirror) - mean
    print(f"neutral mean differs from the mean by up to {np.abs(shift).max():.3f}")
    frames.weight = owner_weights(owner, neutrals)
    metric = fit_metric()
    offsets = points - np.tensordot(turn_features(rotations), by_turn, 1) - neutrals[owner]
    bases = expression_bases(offsets[in_clips], frames.weight[in_clips], mean, mirror, metric)
    people_weight = owner_means(frames.weight, owner) * np.bincount(owner)
    people = neutrals - (mean + shift)
    people_weight = np.where(np.arange(len(people)) < clips, people_weight, 0.5 * people_weight)
    identity, share = principal_components(
        np.concatenate([people, mirrored(people, mirror)]), np.tile(people_weight, 2), metric, IDENTITY_SIZE
    )
    print(f"identity: {IDENTITY_SIZE} components explain {share:.1%}")
    mean = mean + shift
    tensors = {"mean": mean, "mirror": mirror, "triangles": triangulate(mean), "metric": metric}
    tensors |= {"identity_basis": identity, "turn_basis": by_turn}
    tensors |= {f"basis.{region}": basis for region, basis in bases.items()}
    model = FaceModel({name: torch.from_numpy(array) for name, array in tensors.items()})
    clips_only = frames.select(in_clips)
    return tensors | fit_arkit_maps(model, offsets[in_clips], clips_only.scores, clips_only.weight)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"))
    parser.add_argument("--out", type=Path, default=Path("src/superface_hf/weights/face_model"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    save(fit_tensors(args.prepared), args.out / "face_model.safetensors")
    report(args.out / "face_model.safetensors", args.prepared)


if __name__ == "__main__":
    main()
