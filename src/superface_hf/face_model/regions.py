"""Geometry of the mean face that fitting needs: regions, mirror symmetry, triangles and gaze."""

from __future__ import annotations

import numpy as np

from . import topology

# Radius of the turning eyeball in inter-ocular distances (about 12 mm of 90 mm): an iris moves by it per radian of gaze.
GAZE_RADIUS = 0.135
SOFTNESS = 0.07
# How far from the lids, in inter-ocular distances, the skin moves with them. Farther away a blink would be a frown,
# which belongs to the brows.
LID_REACH = 0.08

NOSE_BOTTOM = [2, 94, 97, 98, 64, 129, 326, 327, 294, 358]
CHEEKS = [205, 425, 187, 411, 50, 280, 123, 352, 147, 376, 207, 427, 206, 426]
LOWER_OVAL = [288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 361, 132]
LID_NEIGHBOURS = [27, 28, 29, 30, 56, 190, 22, 23, 24, 110, 25, 26, 112, 130, 226, 247, 246]
LID_NEIGHBOURS += [257, 258, 259, 260, 286, 414, 252, 253, 254, 339, 255, 256, 341, 359, 446, 467, 466]
FOREHEAD = [10, 67, 297, 109, 338, 151, 9, 8, 54, 284, 103, 332, 108, 337, 69, 299, 104, 333, 68, 298, 21, 251]

ANCHORS = {
    "mouth": [*topology.LIPS, *NOSE_BOTTOM, *CHEEKS, *LOWER_OVAL],
    "eyes": [*topology.LEFT_EYE, *topology.RIGHT_EYE, *LID_NEIGHBOURS],
    "brows": [*topology.LEFT_BROW, *topology.RIGHT_BROW, *FOREHEAD],
}


def region_memberships(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Return the soft membership (478,) of each point in each region; memberships add up to one, except on the irises,
    which belong to gaze."""
    plane = mean[:, :2]
    logits = {}
    for region, anchors in ANCHORS.items():
        distance = np.linalg.norm(plane[:, None] - plane[None, anchors], axis=-1).min(1)
        logits[region] = np.exp(-(distance**2) / (2 * SOFTNESS**2))
    total = sum(logits.values()) + 1e-12
    weights = {region: value / total for region, value in logits.items()}
    for weight in weights.values():
        weight[468:] = 0
    return weights


def near_lids(mean: np.ndarray) -> np.ndarray:
    """Return how much each point (478,) moves with a lid: 1 on the lids, falling to 0 at brows and nose."""
    lids = np.concatenate([topology.LEFT_EYE, topology.RIGHT_EYE])
    distance = np.linalg.norm(mean[:, None, :2] - mean[None, lids, :2], axis=-1).min(1)
    weight = np.exp(-(distance**2) / (2 * LID_REACH**2))
    weight[468:] = 0
    return weight


def left_share(mean: np.ndarray) -> np.ndarray:
    """Return how much each point (478,) belongs to the person's left half, with a soft border over the nose bridge."""
    return 1 / (1 + np.exp(-mean[:, 0] / 0.03))


def mirror_map(mean: np.ndarray) -> np.ndarray:
    """Return the permutation (478,) that swaps each point with its mirror image."""
    from scipy.optimize import linear_sum_assignment

    flipped = mean * [-1.0, 1.0, 1.0]
    cost = np.linalg.norm(mean[:, None] - flipped[None], axis=-1)
    cost[468:, :468] = cost[:468, 468:] = 1e3
    _, mirror = linear_sum_assignment(cost**2)
    if not (mirror[mirror] == np.arange(len(mirror))).all() or mirror[263] != 33 or mirror[468] != 473:
        raise ValueError("The mean face is not symmetric enough to pair its points.")
    return mirror


def gaze_basis() -> np.ndarray:
    """Return the gaze basis (4, 478, 3): left eye right and down, right eye right and down in image directions, for one
    radian each."""
    basis = np.zeros((4, topology.POINTS, 3))
    for eye, iris in enumerate((topology.LEFT_IRIS, topology.RIGHT_IRIS)):
        basis[2 * eye, iris, 0] = GAZE_RADIUS
        basis[2 * eye + 1, iris, 1] = GAZE_RADIUS
    return basis


def sculpted_shapes(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Return hand-made shapes (478, 3) for the blendshapes that the landmarker never scores."""
    left = {
        "cheekPuff": [(425, 0.17, (0.05, 0.0, 0.07)), (205, 0.17, (-0.05, 0.0, 0.07))],
        "noseSneerLeft": [(358, 0.07, (0.01, -0.045, 0.01)), (391, 0.08, (0.0, -0.02, 0.0))],
        "cheekSquintLeft": [(330, 0.13, (0.005, -0.04, 0.02))],
    }
    shapes = {name: sum((_bump(mean, *bump) for bump in bumps), np.zeros_like(mean)) for name, bumps in left.items()}
    chin, lip = mean[152, 1], mean[14, 1]
    forward = np.zeros_like(mean)
    forward[:468, 2] = 0.09 * np.clip((mean[:468, 1] - lip + 0.02) / (0.3 * (chin - lip)), 0, 1)
    shapes["jawForward"] = forward
    mirror = mirror_map(mean)
    for name in ("noseSneer", "cheekSquint"):
        shapes[name + "Right"] = shapes[name + "Left"][mirror] * [-1.0, 1.0, 1.0]
    return shapes


def _bump(mean: np.ndarray, centre: int, radius: float, move: tuple[float, float, float]) -> np.ndarray:
    distance = np.linalg.norm(mean - mean[centre], axis=-1)
    weight = np.exp(-(distance**2) / (2 * radius**2))
    weight[468:] = 0
    return weight[:, None] * np.array(move)


def triangulate(mean: np.ndarray) -> np.ndarray:
    """Return Delaunay triangles (F, 3) of the frontal mean without its irises, mouth and eye openings."""
    from scipy.spatial import Delaunay

    triangles = Delaunay(mean[:468, :2]).simplices
    for ring in (topology.LIPS_INNER, topology.LEFT_EYE, topology.RIGHT_EYE):
        triangles = triangles[~np.isin(triangles, ring).all(1)]
    first, second, third = (mean[triangles[:, corner], :2] for corner in range(3))
    u, v = second - first, third - first
    clockwise = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 0
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    return triangles.astype(np.int64)
