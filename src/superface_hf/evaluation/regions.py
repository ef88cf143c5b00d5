"""Region independence: one region of a portrait is driven, and a tracker looks at what else moves in the rendered picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..face_model import topology
from ..face_model.linear import FaceModel
from ..face_model.pose import fit_similarity, rotation_matrix, rotation_vector
from ..metrics.keypoints import face_width
from ..models.tracker.base import FaceTracker
from ..motion import REGIONS, Motion
from .data import NamedPortrait
from .judge import track
from .methods import Methods

# What drives each region: blendshapes, of which only that region is taken.
EDITS = {
    "mouth": {"jawOpen": 0.5},
    "eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "brows": {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
    "gaze": {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6},
}
HEAD_TURN = (0.0, 0.2, 0.0)  # radians
# Nobody sees where a shut eye looks.
UNSEEN = {("eyes", "gaze")}
# Each region is driven by these shares, and movements are slopes over them: a tracker's jitter is as large as a small
# movement, but does not grow with what drives.
STEPS = (0.0, 0.5, 1.0)
LANDMARKS = {
    "mouth": topology.LIPS,
    "eyes": np.setdiff1d(np.concatenate([topology.LEFT_EYE, topology.RIGHT_EYE]), topology.EYE_CORNERS),
    "brows": np.concatenate([topology.LEFT_BROW, topology.RIGHT_BROW]),
    "head": topology.STABLE,
}
# The middle of each iris, and the corners of its eye.
IRISES = ((topology.LEFT_IRIS[0], (263, 362)), (topology.RIGHT_IRIS[0], (33, 133)))


def region_independence(
    portraits: Sequence[NamedPortrait], methods: Methods, tracker: FaceTracker
) -> dict[str, dict[str, dict[str, float]]]:
    """Movements in percent of the face's width, means over portraits: what is "measured", and what was "commanded".

    ``result["measured"]["mouth"]["eyes"]`` is how far the eyelids move in the picture while the mouth is driven. Rigid
    motion is taken out of all but the head. ``commanded`` is the same of the meshes that drive.
    """
    totals = {kind: {driven: dict.fromkeys(REGIONS, 0.0) for driven in REGIONS} for kind in ("measured", "commanded")}
    counts = dict.fromkeys(REGIONS, 0)
    for item in portraits:
        for driven in REGIONS:
            motion = driven_motion(item.portrait.motion, driven)
            driving = FaceModel.default().animate(item.portrait.shape, motion)
            frames = methods.render_teacher(item.image, item.landmarks, driving, methods.size)
            landmarks = track(tracker, frames)
            if not np.isfinite(landmarks).all():
                continue
            counts[driven] += 1
            for kind, points in (("measured", landmarks), ("commanded", driving.numpy())):
                for region, movement in movements(points).items():
                    totals[kind][driven][region] += movement
    return {
        kind: {
            driven: {
                region: total / counts[driven] if counts[driven] else float("nan") for region, total in row.items()
            }
            for driven, row in rows.items()
        }
        for kind, rows in totals.items()
    }


def driven_motion(rest: Motion, region: str) -> Motion:
    """A portrait's own motion (1 frame), in which one region goes from rest to driven in ``STEPS``."""
    if region == "head":
        turned = rotation_matrix(rest.rotation) @ rotation_matrix(np.array([HEAD_TURN]))
        full = replace(rest, rotation=rotation_vector(turned))
    else:
        full = rest.replace({region: rest.edit(EDITS[region])})
    return Motion.concatenate([rest.blend(full, share, [region]) for share in STEPS])


def movements(landmarks: np.ndarray) -> dict[str, float]:
    """How far each region moves over ``STEPS``, in percent of the face's width: (len(STEPS), 478, 3) -> region -> mean."""
    landmarks = np.asarray(landmarks, np.float64)
    stable = topology.STABLE
    rotation, scale, offset = fit_similarity(landmarks[:, stable], landmarks[:1, stable])
    still = scale[:, None, None] * landmarks @ np.swapaxes(rotation, -1, -2) + offset[:, None]
    percent = 100 / float(face_width(landmarks[0]))
    local, whole = (percent * _slopes(points[..., :2]) for points in (still, landmarks))
    result = {
        region: float(np.linalg.norm((whole if region == "head" else local)[points], axis=-1).mean())
        for region, points in LANDMARKS.items()
    }
    gaze = [local[iris] - local[list(corners)].mean(0) for iris, corners in IRISES]
    result["gaze"] = float(np.linalg.norm(gaze, axis=-1).mean())
    return result


def cross_talk(movement: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Movements as shares of the driven region's: driven -> other region -> share."""
    return {
        driven: {
            region: value / row[driven]
            for region, value in row.items()
            if region != driven and (driven, region) not in UNSEEN
        }
        for driven, row in movement.items()
    }


def obedience(moved: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """How much of its commanded movement each driven region makes in the picture, as far as the tracker sees it."""
    return {region: moved["measured"][region][region] / moved["commanded"][region][region] for region in REGIONS}


def _slopes(points: np.ndarray) -> np.ndarray:
    """(len(STEPS), P, 2) -> (P, 2): the displacement at a share of 1 that fits all steps best."""
    shares = np.array(STEPS)[:, None, None]
    return (shares * (points - points[:1])).sum(0) / np.square(shares).sum()
