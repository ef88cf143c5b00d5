"""The protocol ``regions``: one region of a portrait is driven, and the movement of the others in the rendered picture
is measured.

Twice: by a tracker, and by optical flow from the picture at rest. A tracker infers the whole face from all of it, so an eye
that shuts also moves the brow that it believes in; optical flow only knows what pixels do, but slides from an iris to its lids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..face_model import topology
from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..metrics.keypoints import face_width
from ..models.tracker.base import FaceTracker
from ..motion import REGIONS, Motion
from ..motion.rotations import rotation_matrix, rotation_vector
from .data import NamedPortrait
from .methods import Methods
from .scoring import track

# The blendshapes that drive each region; only that region of them is used.
EDITS = {
    "mouth": {"jawOpen": 0.5},
    "eyes": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "brows": {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
    "gaze": {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6},
}
HEAD_TURN = (0.0, 0.2, 0.0)  # radians
# The gaze of a shut eye is not visible.
UNSEEN = {("eyes", "gaze")}
# The shares by which each region is driven. Movements are slopes over them, because a tracker's jitter is as large as a small
# movement, but does not grow with the share.
STEPS = (0.0, 0.5, 1.0)
LANDMARKS = {
    "mouth": topology.LIPS,
    "eyes": np.setdiff1d(np.concatenate([topology.LEFT_EYE, topology.RIGHT_EYE]), topology.EYE_CORNERS),
    "brows": np.concatenate([topology.LEFT_BROW, topology.RIGHT_BROW]),
    "head": topology.STABLE,
}
# Keys of the shares in the results, and how they were measured.
CROSS_TALK = (
    ("cross_talk", "as the tracker sees the pictures"),
    ("optical_cross_talk", "as optical flow from the picture at rest sees them"),
    ("commanded_cross_talk", "in the driving meshes"),
)
KINDS = ("measured", "optical", "commanded")
# Optical flow is computed on pictures this much smaller: a second for each instead of eight.
FLOW_FACTOR = 2
# The middle of each iris, and the corners of its eye.
IRISES = ((topology.LEFT_IRIS[0], (263, 362)), (topology.RIGHT_IRIS[0], (33, 133)))


def region_independence(
    portraits: Sequence[NamedPortrait], methods: Methods, tracker: FaceTracker
) -> dict[str, dict[str, dict[str, float]]]:
    """Return movements in percent of the face's width, averaged over portraits: "measured" by the tracker, by "optical"
    flow, and "commanded".

    ``result["measured"]["mouth"]["eyes"]`` is how far the eyelids move in the picture while the mouth is driven. The head's
    motion is taken out of all but the head. ``commanded`` is the same of the meshes that drive.
    """
    totals = {kind: {driven: dict.fromkeys(REGIONS, 0.0) for driven in REGIONS} for kind in KINDS}
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
            commanded = Square(0, 0, methods.size).to_pixels(driving.numpy())
            seen = (landmarks, carried(frames, commanded), commanded)
            for kind, points in zip(KINDS, seen, strict=True):
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
    """Return a portrait's own motion (1 frame), with one region moving from rest to driven in ``STEPS``."""
    if region == "head":
        turned = rotation_matrix(rest.rotation) @ rotation_matrix(np.array([HEAD_TURN]))
        full = replace(rest, rotation=rotation_vector(turned))
    else:
        full = rest.replace({region: rest.edit(EDITS[region])})
    return Motion.concatenate([rest.blend(full, share, [region]) for share in STEPS])


def movements(landmarks: np.ndarray) -> dict[str, float]:
    """Return the movement of each region over ``STEPS``, in percent of the face's width: (len(STEPS), 478, 3) -> region
    -> mean.

    The head's motion is taken out of the other regions as a :class:`Motion` takes it out: with what a turn does to tracked
    landmarks, which is no movement of a mouth.
    """
    landmarks = np.asarray(landmarks, np.float64)
    still = FaceModel.default().without_head(landmarks)
    local = 100 / face_width(still[0]) * _slopes(still[..., :2])
    whole = 100 / face_width(landmarks[0]) * _slopes(landmarks[..., :2])
    result = {
        region: float(np.linalg.norm((whole if region == "head" else local)[points], axis=-1).mean())
        for region, points in LANDMARKS.items()
    }
    gaze = [local[iris] - local[list(corners)].mean(0) for iris, corners in IRISES]
    result["gaze"] = float(np.linalg.norm(gaze, axis=-1).mean())
    return result


def carried(frames: np.ndarray, meshes: np.ndarray) -> np.ndarray:
    """Return the first frame's landmarks, moved by optical flow to each frame; their depths are the meshes'.

    Args:
        frames: (T, S, S, 3) uint8.
        meshes: (T, 478, 3) in pixels; the first is the first frame's.
    """
    from scipy.ndimage import map_coordinates
    from skimage.color import rgb2gray
    from skimage.registration import optical_flow_tvl1
    from skimage.transform import downscale_local_mean

    first, *others = (
        downscale_local_mean(rgb2gray(frame), (FLOW_FACTOR, FLOW_FACTOR)).astype(np.float32) for frame in frames
    )
    places = meshes[0, :, 1::-1].T / FLOW_FACTOR - 0.5  # rows, columns
    result = meshes.copy()
    result[:, :, :2] = meshes[0, :, :2]
    for points, frame in zip(result[1:], others, strict=True):
        rows, columns = optical_flow_tvl1(first, frame, dtype=np.float32)
        moved = [map_coordinates(axis, places, order=1, mode="nearest") for axis in (columns, rows)]
        points[:, :2] += FLOW_FACTOR * np.stack(moved, axis=-1)
    return result


def cross_talk(movement: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return movements as shares of the driven region's: driven -> other region -> share."""
    return {
        driven: {
            region: value / row[driven]
            for region, value in row.items()
            if region != driven and (driven, region) not in UNSEEN
        }
        for driven, row in movement.items()
    }


def obedience(moved: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return the share of its commanded movement that each driven region makes in the picture, by the tracker."""
    return {region: moved["measured"][region][region] / moved["commanded"][region][region] for region in REGIONS}


def _slopes(points: np.ndarray) -> np.ndarray:
    """Return the displacements (P, 2) at a share of 1 that fit all steps (len(STEPS), P, 2) best."""
    shares = np.array(STEPS)[:, None, None]
    return (shares * (points - points[:1])).sum(0) / np.square(shares).sum()
