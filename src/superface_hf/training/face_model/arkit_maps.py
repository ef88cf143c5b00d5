"""Fit the linear maps between blendshape scores and motion coefficients, and correct what the data smear.

A plain regression gives most shapes well, but scores that always move together share their effects, and a full value of 1.0
lies beyond what the clips show. So the columns are brought to what the shape means: a blink closes the eye and nothing
crosses, a squint half closes it, lips touch and do not overlap.
"""

from __future__ import annotations

import numpy as np

from ...face_model import topology
from ...face_model.linear import FaceModel
from ...face_model.regions import sculpted_shapes
from ...motion.arkit import ARKIT_NAMES, EXPRESSION_REGIONS, arkit_index, mirrored_name

_MIRROR = [ARKIT_NAMES.index(mirrored_name(name)) for name in ARKIT_NAMES]

RIDGE = 1e-2
# How much the pure shapes count against the tracked frames in the map back to scores, and how much a shape that still
# comes back too small is raised.
ROUND_TRIP = 0.6
LARGEST_GAIN = 2.0

MOUTH = ("jaw", "mouth", "cheekPuff", "noseSneer", "cheekSquint")
EYE = ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp")
BROW = ("brow",)
GAZE = ("eyeLook",)

# The opening of the eye at a value of 1.0, as a share of the mean face's.
LID_OPENING = {"eyeBlink": 0.0, "eyeSquint": 0.5, "eyeWide": 1.45, "eyeLookDown": 0.62, "eyeLookUp": 1.15}
# The landmarker gives these scores of nearly zero on all frames: their shapes are sculpted (see `face_regions`).
SCULPTED = ("cheekPuff", "jawForward", "noseSneerLeft", "noseSneerRight", "cheekSquintLeft", "cheekSquintRight")
# Each is the other's opposite: what a linear map takes for one is a negative amount of the other.
OPPOSITES = {
    "jawLeft": "jawRight", "mouthLeft": "mouthRight", "eyeLookOutLeft": "eyeLookInLeft", "eyeLookUpLeft": "eyeLookDownLeft",
    "eyeLookOutRight": "eyeLookInRight", "eyeLookUpRight": "eyeLookDownRight",
}  # fmt: skip
# Amounts that lie too far beyond the data at 1.0 are taken back.
DAMPED = {"mouthShrugUpper": 0.4, "mouthClose": 0.5}
# Standard deviations, in inter-ocular distances, to which lids and lips are brought onto each other.
GAP_TOLERANCE = 0.0004
LIP_TOLERANCE = 0.006
LID_TOLERANCE = 0.004
# In a blink the upper lid goes most of the way.
UPPER_LID_SHARE = 0.85
LIP_PAIRS = ((80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318))


def mirror_scores(scores: np.ndarray) -> np.ndarray:
    """Return the scores (N, 52) of the mirrored faces."""
    return scores[:, _MIRROR]


def fit_arkit_maps(
    model: FaceModel, offsets: np.ndarray, scores: np.ndarray, weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the tensors ``from_arkit.<region>`` (52, N) and ``to_arkit.<region>`` (N, 52).

    Args:
        offsets: (N, 478, 3) from each person's neutral face, canonical.
        scores: (N, 52) relative to a neutral face's scores.
        weight: (N,).
    """
    swapped = offsets[:, model.mirror.numpy()] * np.array([-1.0, 1.0, 1.0])
    coefficients = np.concatenate([model.coefficients_of(offsets), model.coefficients_of(swapped)])
    scores = np.concatenate([scores, mirror_scores(scores)])
    weight = np.tile(weight, 2)
    columns = _columns(model)
    forward = np.zeros((len(ARKIT_NAMES), coefficients.shape[1]))
    for prefixes, side, block in _blocks(columns):
        slots = _slots(prefixes, side)
        forward[np.ix_(slots, block)] = _ridge(scores[:, slots], coefficients[:, block], weight, RIDGE)
    _mend_eyes(forward, model, columns)
    _mend_mouth(forward, model, columns["mouth"])
    backward = _back(forward, coefficients, scores, weight, columns)
    maps = {f"from_arkit.{region}": forward[:, columns[region]] for region in EXPRESSION_REGIONS}
    return maps | {f"to_arkit.{region}": backward[columns[region]] for region in EXPRESSION_REGIONS}


def _columns(model: FaceModel) -> dict[str, np.ndarray]:
    ends = np.cumsum([len(model.bases[region]) for region in EXPRESSION_REGIONS])
    return {
        region: np.arange(end - len(model.bases[region]), end)
        for region, end in zip(EXPRESSION_REGIONS, ends, strict=True)
    }


def _blocks(columns: dict[str, np.ndarray]) -> list[tuple[tuple[str, ...], str, np.ndarray]]:
    """Return which scores may move which coefficients."""
    blocks: list[tuple[tuple[str, ...], str, np.ndarray]] = [(MOUTH, "", columns["mouth"])]
    sides: dict[str, tuple[str, ...]] = {"eyes": EYE, "brows": BROW, "gaze": GAZE}
    for region, prefixes in sides.items():
        left, right = np.split(columns[region], 2)
        blocks += [(prefixes, "Left", left), (prefixes, "Right", right)]
    return blocks


def _slots(prefixes: tuple[str, ...], side: str) -> np.ndarray:
    """Return the slots with one of these beginnings, of one side or of none."""
    other = {"Left": "Right", "Right": "Left", "": "nothing"}[side]
    return np.array(
        [slot for slot, name in enumerate(ARKIT_NAMES) if name.startswith(prefixes) and not name.endswith(other)]
    )


def _ridge(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float) -> np.ndarray:
    gram = (x * weight[:, None]).T @ x
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, (x * weight[:, None]).T @ y)


def _heights(model: FaceModel, block: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a matrix (points, len(block)): how far down each coefficient moves the points."""
    basis = np.concatenate([model.bases[region].numpy() for region in EXPRESSION_REGIONS])[block].astype(np.float64)
    return basis[:, points, 1].T


def _constrain(column: np.ndarray, rows: np.ndarray, target: np.ndarray, tolerance: np.ndarray | float) -> np.ndarray:
    """Return the likeliest coefficients around ``column`` that give ``rows @ coefficients == target`` within the tolerance."""
    noise = np.diag(np.broadcast_to(np.square(tolerance), len(rows)))
    return column + rows.T @ np.linalg.solve(rows @ rows.T + noise, target - rows @ column)


def _mend_eyes(forward: np.ndarray, model: FaceModel, columns: dict[str, np.ndarray]) -> None:
    mean = model.mean.double().numpy()
    sides = zip(("Left", "Right"), np.split(columns["eyes"], 2), (topology.LEFT_LIDS, topology.RIGHT_LIDS), strict=True)
    for side, block, lids in sides:
        upper, lower = np.array(lids).T
        opening = mean[lower, 1] - mean[upper, 1]
        up, low = _heights(model, block, upper), _heights(model, block, lower)
        for shape, share in LID_OPENING.items():
            slot = arkit_index(shape + side)
            change = (share - 1) * opening.sum()
            reach = ((low - up) @ forward[slot, block]).sum()
            forward[slot, block] *= np.clip(change / reach, 0, 1) if reach * change > 0 else 0
        slot = arkit_index("eyeBlink" + side)
        targets = np.concatenate([-opening, UPPER_LID_SHARE * opening])
        tolerances = np.repeat([GAP_TOLERANCE, LID_TOLERANCE], len(lids))
        forward[slot, block] = _constrain(forward[slot, block], np.concatenate([low - up, up]), targets, tolerances)


def _mend_mouth(forward: np.ndarray, model: FaceModel, block: np.ndarray) -> None:
    """Lay lips on each other that the fitted shape presses through each other, and sculpt missing shapes."""
    mean = model.mean.double().numpy()
    upper, lower = np.array(LIP_PAIRS).T
    rest = mean[lower, 1] - mean[upper, 1]
    rows = _heights(model, block, lower) - _heights(model, block, upper)
    for name, gain in DAMPED.items():
        forward[arkit_index(name), block] *= gain
    for slot in _slots(MOUTH, ""):
        gap = rest + rows @ forward[slot, block]
        if (gap < 0).any():
            target = np.maximum(gap, 0) - rest
            forward[slot, block] = _constrain(forward[slot, block], rows, target, LIP_TOLERANCE)
    sculpted = sculpted_shapes(mean)
    for name in SCULPTED:
        forward[arkit_index(name), block] = model.coefficients_of(sculpted[name][None])[0, block]


def _back(
    forward: np.ndarray,
    coefficients: np.ndarray,
    scores: np.ndarray,
    weight: np.ndarray,
    columns: dict[str, np.ndarray],
) -> np.ndarray:
    """Fit the map from coefficients to scores: it explains the tracked frames, and gives pure shapes their own value back."""
    values, pure_values = scores.copy(), np.eye(len(ARKIT_NAMES))
    for one, other in OPPOSITES.items():
        a, b = arkit_index(one), arkit_index(other)
        for table in (values, pure_values):
            difference = table[:, a] - table[:, b]
            table[:, a], table[:, b] = difference, -difference
    backward = np.zeros((coefficients.shape[1], len(ARKIT_NAMES)))
    share = weight / weight.sum()
    for prefixes, side, block in _blocks(columns):
        slots = _slots(prefixes, side)
        # Lids follow a vertical gaze, but only the iris says where the eye looks.
        results = slots if prefixes != EYE else _slots(("eyeBlink", "eyeSquint", "eyeWide"), side)
        x, pure = coefficients[:, block], forward[np.ix_(slots, block)]
        shapes = ROUND_TRIP / len(slots)
        gram = (x * share[:, None]).T @ x + shapes * pure.T @ pure + 1e-3 * np.eye(len(block))
        moment = (x * share[:, None]).T @ values[:, results] + shapes * pure.T @ pure_values[np.ix_(slots, results)]
        solution = np.linalg.solve(gram, moment)
        returned = np.einsum("sb,bs->s", forward[np.ix_(results, block)], solution)
        # A shape without a side is read from both sides, half from each.
        halves = np.array([1.0 if not side or ARKIT_NAMES[slot].endswith(side) else 0.5 for slot in results])
        gains = np.clip(1 / np.maximum(returned, 0.1), 1, LARGEST_GAIN)
        backward[np.ix_(block, results)] = solution * gains * halves
    return backward
