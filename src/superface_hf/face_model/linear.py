"""The linear face model over the 478-point mesh: shape = mean + identity + regional expressions, posed and scaled.

A face in the picture is ``scale * R @ (neutral + expression + turn) + translation``: a weak perspective, where ``neutral``
is the person's own face, ``expression`` comes from the coefficients of a :class:`Motion`, and ``turn`` is the small change
that tracked landmarks show when a head turns. Coordinates: x right, y down, z toward the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ..errors import MotionError
from ..motion import Motion
from ..motion.arkit import EXPRESSION_REGIONS, FACE_MODEL_FILE
from ..motion.rotations import fit_similarity, rotation_matrix, rotation_vector
from . import topology
from .topology import lid_gap

# Standard deviations, in inter-ocular distances, of what the bases leave unexplained: within a clip, and of a person.
TRACKING_NOISE = 0.006
IDENTITY_NOISE = 0.02
# Standard deviation of a clip's average expression from neutral, relative to that of a single frame.
MEAN_EXPRESSION = 0.7
FIT_ROUNDS = 2
# Turns beyond this many radians change the face no further: few tracked frames go there.
TURN_LIMIT = 0.6
# Eye offsets are scaled by how far this person's eyes open, so that a blink closes every eye; limits of that factor.
OPENING_LIMITS = (0.5, 2.0)
# An eye that is open by less than this share of its usual opening hides its iris: its gaze is taken from its neighbours.
HIDDEN_IRIS = 0.45
LIDS = (topology.LEFT_LIDS, topology.RIGHT_LIDS)


@dataclass(frozen=True, eq=False)
class FaceShape:
    """A person's neutral face: ``points`` (478, 3) float32, canonical units (the mean's inter-ocular distance is 1)."""

    points: torch.Tensor


class FaceModel:
    """The fitted linear face model.

    Attributes:
        mean: (478, 3), centred, looking straight at the camera, symmetric; its outer eye corners are 1 apart.
        identity_basis: (K, 478, 3), one standard deviation each.
        bases: region -> (N, 478, 3); mouth, eyes (left then right), brows (left then right) in standard deviations, gaze
            (left eye right/down, right eye right/down) in radians.
        turn_basis: (9, 478, 3), see :func:`turn_features`.
        metric: (478, 3), the weight of each coordinate's squared error in fits: lips and lids count more, depth less.
        triangles: (F, 3) int64, facing the camera clockwise on screen; mouth and eyes are holes.
        mirror: (478,) int64, each point's twin on the other side.
    """

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.mean = tensors["mean"].float()
        self.identity_basis = tensors["identity_basis"].float()
        self.bases = {region: tensors[f"basis.{region}"].float() for region in EXPRESSION_REGIONS}
        self.turn_basis = tensors["turn_basis"].float()
        self.metric = tensors["metric"].float()
        self.triangles = tensors["triangles"].long()
        self.mirror = tensors["mirror"].long()

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Read ``face_model.safetensors``."""
        return cls(load_file(path))

    @classmethod
    @lru_cache(maxsize=1)
    def default(cls) -> FaceModel:
        """Return the embedded model, loaded once."""
        return cls.load(FACE_MODEL_FILE)

    def fit(self, landmarks: np.ndarray | torch.Tensor, fps: float) -> tuple[FaceShape, Motion]:
        """Fit one person's neutral face and their motion together.

        Args:
            landmarks: (T, 478, 3) IMAGE coordinates, of one person.

        Raises:
            MotionError: the landmarks have another shape, are not finite, or are no frame at all.
        """
        target = _checked(landmarks)
        points = self._mean
        for _ in range(FIT_ROUNDS):
            posed, aligned = self._align(target, points)
            points, coefficients = self._split(aligned)
        return FaceShape(torch.from_numpy(points.astype(np.float32))), self._motion(posed, coefficients, points, fps)

    def fit_frames(self, shape: FaceShape, landmarks: np.ndarray | torch.Tensor, fps: float) -> Motion:
        """Fit the motion (T frames) of a person whose neutral face is known; arguments and errors as in :meth:`fit`."""
        points = shape.points.double().numpy()
        posed, aligned = self._align(_checked(landmarks), points)
        return self._motion(posed, self.coefficients_of(aligned - points), points, fps)

    def without_head(self, landmarks: np.ndarray) -> np.ndarray:
        """Align one person's landmarks (T, 478, 3), in any unit, with the mean face, and return them in canonical
        units. The head's position, size and rotation are removed, and so is the change that a turn causes in tracked
        landmarks."""
        return self._align(np.asarray(landmarks, np.float64), self._mean)[1]

    def neutral_shape(self, landmarks: np.ndarray | torch.Tensor, motion: Motion) -> FaceShape:
        """Return the neutral face with which ``motion`` (1 frame) gives exactly ``landmarks`` (478, 3)."""
        if len(motion) != 1:
            raise MotionError(f"neutral_shape needs a motion of one frame, not {len(motion)}: pass motion[0].")
        target = _checked(torch.as_tensor(landmarks)[None])
        rotation = rotation_matrix(motion.rotation)
        offset = np.pad(motion.translation, ((0, 0), (0, 1)))
        canonical = (target - offset[:, None]) @ rotation / motion.scale[:, None, None]
        fixed, left, right = self._offsets(motion)
        points = (canonical - fixed)[0]
        for eye, (lids, change) in enumerate(zip(LIDS, (left[0], right[0]), strict=True)):
            points = points - self._own_opening(points, change, lids, self._mean_openings[eye]) * change
        return FaceShape(torch.from_numpy(points.astype(np.float32)))

    def animate(self, shape: FaceShape, motion: Motion) -> torch.Tensor:
        """Return the landmarks (T, 478, 3) float32 in IMAGE coordinates of ``shape`` making ``motion``."""
        points = shape.points.double().numpy()
        fixed, left, right = self._offsets(motion)
        openings = self._openings(points)
        canonical = points + fixed + openings[0] * left + openings[1] * right
        rotated = canonical @ np.swapaxes(rotation_matrix(motion.rotation), -1, -2)
        rotated *= motion.scale[:, None, None]
        rotated[..., :2] += motion.translation[:, None]
        return torch.from_numpy(rotated.astype(np.float32))

    def coefficients_of(self, offsets: np.ndarray) -> np.ndarray:
        """Return the coefficients (T, M), in the regions' order, of offsets (T, 478, 3) from a neutral face in
        canonical pose."""
        return offsets.reshape(len(offsets), -1) @ self._explainer

    @cached_property
    def _mean(self) -> np.ndarray:
        return self.mean.double().numpy()

    @cached_property
    def _expression(self) -> np.ndarray:
        """(M, 1434): all expression bases below each other, in the order of ``EXPRESSION_REGIONS``."""
        return torch.cat([self.bases[region] for region in EXPRESSION_REGIONS]).flatten(1).double().numpy()

    @cached_property
    def _turn(self) -> np.ndarray:
        return self.turn_basis.flatten(1).double().numpy()

    @cached_property
    def _explainer(self) -> np.ndarray:
        """(1434, M): the ridge least squares that turns offsets from the neutral face into coefficients."""
        return ridge_solver(self._expression, self._weights / TRACKING_NOISE**2, np.ones(len(self._expression)))

    @cached_property
    def _splitter(self) -> np.ndarray:
        """(1434, K + M): explains an average face by identity and expression together."""
        basis = np.concatenate([self.identity_basis.flatten(1).double().numpy(), self._expression])
        spread = np.ones(len(basis))
        spread[len(self.identity_basis) :] = MEAN_EXPRESSION
        return ridge_solver(basis, self._weights / IDENTITY_NOISE**2, spread)

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.metric.double().numpy().reshape(-1)

    def _align(
        self, target: np.ndarray, points: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """Return the poses (rotation vectors, translations, scales), and the frames (T, 478, 3) moved back to canonical
        pose."""
        stable = topology.STABLE
        rotation, scale, offset = fit_similarity(points[stable], target[:, stable])
        vectors = rotation_vector(rotation)
        canonical = (target - offset[:, None]) @ rotation / scale[:, None, None]
        canonical -= (turn_features(vectors) @ self._turn).reshape(canonical.shape)
        return (vectors, offset[:, :2], scale), canonical

    def _split(self, aligned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split canonical frames (T, 478, 3) into the person's neutral face (478, 3) and coefficients (T, M)."""
        mean_offset = (aligned.mean(0) - self._mean).reshape(-1)
        mean_coefficients = (mean_offset @ self._splitter)[len(self.identity_basis) :]
        points = self._mean + (mean_offset - mean_coefficients @ self._expression).reshape(-1, 3)
        return points, mean_coefficients + self.coefficients_of(aligned - aligned.mean(0))

    def _settle_gaze(self, coefficients: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Replace the gaze of hidden irises by that of the nearest frames that show them."""
        faces = points + (coefficients @ self._expression).reshape(-1, *points.shape)
        settled = coefficients.copy()
        for eye, lids in enumerate(LIDS):
            gap = lid_gap(faces, lids)
            usual = np.percentile(gap, 80) if len(gap) > 1 else lid_gap(points[None], lids)[0]
            seen = np.flatnonzero(gap >= HIDDEN_IRIS * usual)
            for axis in range(2):
                column = coefficients.shape[1] - 4 + 2 * eye + axis
                if 0 < len(seen) < len(gap):
                    settled[:, column] = np.interp(np.arange(len(gap)), seen, coefficients[seen, column])
        return settled

    def _motion(
        self,
        pose: tuple[np.ndarray, np.ndarray, np.ndarray],
        coefficients: np.ndarray,
        points: np.ndarray,
        fps: float,
    ) -> Motion:
        rotation, translation, scale = pose
        coefficients = self._settle_gaze(coefficients, points)
        sizes = np.cumsum([len(self.bases[region]) for region in EXPRESSION_REGIONS])[:-1]
        mouth, eyes, brows, gaze = np.split(coefficients, sizes, axis=1)
        eyes = eyes / np.repeat(self._openings(points), eyes.shape[1] // 2)
        return Motion(rotation, translation, scale, mouth, eyes, brows, gaze, fps)

    def _offsets(self, motion: Motion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the offsets that a motion adds to a neutral face, each (T, 478, 3) canonical: all but the eyes, left
        eye, right eye.

        The parts of the eyes are those of the mean face, to be multiplied by the person's own opening.
        """
        sizes = {region: getattr(motion, region).shape[1] for region in EXPRESSION_REGIONS}
        expected = {region: len(self.bases[region]) for region in EXPRESSION_REGIONS}
        if sizes != expected:
            raise MotionError(
                f"The motion has {sizes} coefficients, this face model {expected}: it is for another model."
            )
        fixed = turn_features(motion.rotation) @ self._turn
        for region in ("mouth", "brows", "gaze"):
            fixed = fixed + getattr(motion, region) @ self._flat_bases[region]
        left, right = (
            coefficients @ basis
            for coefficients, basis in zip(
                np.split(motion.eyes, 2, axis=1), np.split(self._flat_bases["eyes"], 2), strict=True
            )
        )
        shape = (len(motion), topology.POINTS, 3)
        return fixed.reshape(shape), left.reshape(shape), right.reshape(shape)

    @cached_property
    def _flat_bases(self) -> dict[str, np.ndarray]:
        return {region: basis.flatten(1).double().numpy() for region, basis in self.bases.items()}

    @cached_property
    def _mean_openings(self) -> list[float]:
        return [float(lid_gap(self._mean[None], lids)[0]) for lids in LIDS]

    def openings(self, shape: FaceShape) -> np.ndarray:
        """Return the openings (2,) of a person's left and right eye, relative to the mean face's."""
        return self._openings(shape.points.double().numpy())

    def _openings(self, points: np.ndarray) -> np.ndarray:
        """Return the opening of a neutral face's left and right eye, relative to the mean face's."""
        gaps = [lid_gap(points[None], lids)[0] for lids in LIDS]
        return np.clip(np.divide(gaps, self._mean_openings), *OPENING_LIMITS)

    @staticmethod
    def _own_opening(face: np.ndarray, change: np.ndarray, lids: tuple[tuple[int, int], ...], mean_gap: float) -> float:
        """Return the opening of the neutral face that ``opening * change`` (478, 3) turned into ``face`` (478, 3).

        The opening follows from the neutral face, which follows from the opening: a fixed point, found by bisection.
        """
        gap, gap_change = lid_gap(face[None], lids)[0], lid_gap(change[None], lids)[0]

        def too_small(opening: float) -> bool:
            return bool(np.clip((gap - opening * gap_change) / mean_gap, *OPENING_LIMITS) > opening)

        low, high = OPENING_LIMITS
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if too_small(middle) else (low, middle)
        return (low + high) / 2


def turn_features(vectors: np.ndarray) -> np.ndarray:
    """Return the features (T, 9) of rotation vectors (T, 3): the vectors, their squares and their products."""
    v = np.clip(np.asarray(vectors, np.float64), -TURN_LIMIT, TURN_LIMIT)
    return np.concatenate([v, v * v, v * np.roll(v, 1, axis=1)], axis=1)


def ridge_solver(basis: np.ndarray, weights: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the matrix (P, M) that maps offsets (P,) to their most likely coefficients on ``basis`` (M, P).

    ``weights`` (P,) are inverse variances of the offsets' noise, ``spread`` (M,) the coefficients' standard deviations.
    """
    weighted = basis * weights
    return np.linalg.solve(weighted @ basis.T + np.diag(1 / spread**2), weighted).T


def _checked(landmarks: np.ndarray | torch.Tensor) -> np.ndarray:
    array = torch.as_tensor(landmarks).detach().cpu().double().numpy()
    if array.ndim != 3 or array.shape[1:] != (topology.POINTS, 3) or len(array) == 0:
        raise MotionError(f"Landmarks must have the shape (frames, {topology.POINTS}, 3), not {array.shape}.")
    if not np.isfinite(array).all():
        raise MotionError("The landmarks hold NaN or infinite values: leave out the frames without a face.")
    return array
