"""Fit the mesh to drawn eyes that are much larger than a person's, so that a blink covers them.

Trackers have learned people: they put the lids of a cartoon where a person's lids would be, inside of its eyes. A drawn eye is
an elliptic patch that differs from the skin around it all along its rim. Where such a patch is clearly larger than the mesh's
eye, lids and the skin around them are moved to its rim (:func:`fit_drawn_eyes`). Eyes in photographs have no such rim,
and stay. A blink of the face model shuts eyes that are shaped like a person's; :func:`move_drawn_eyes` shuts round ones
from corner to corner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..face_model.linear import FaceModel, FaceShape, lid_gap
from ..face_model.topology import (
    EYE_CORNERS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LEFT_LIDS,
    POINTS,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
    RIGHT_LIDS,
    inter_ocular,
)
from ..motion import Motion
from ..utils.easing import ArrayT

# The window in which an eye is searched: half its side relative to the distance of the outer eye corners, and its side
# in pixels.
REACH, PIXELS = 0.5, 160
# A pixel is not skin if its colour (of 255) differs from the skin's by more than this, and by more than so many deviations.
UNLIKE, SPREADS = 24.0, 4.0
# The least overlap of a patch with the ellipse in its box, and how much higher than the mesh's eye it must be.
LIKE_ELLIPSE, HIGHER = 0.85, 1.25
# The lids' distance from the middle in radii of the eye. Their edges must be skin, or a shut eye would show a line of
# the eyeball.
RIM = 1.05
# The skin moves along up to this distance, in radii of the drawn eye; brows stay.
CALM = 1.8
# Openings relative to the usual one: up to the first an eye counts as shut, the second is the widest. The lids meet at
# this share of the way from the upper to the lower lid.
SHUT, WIDEST, MEETING = 0.15, 1.2, 0.75
# Deviations of the cheeks' colours (of 255): below the first as in no photograph; eyes are drawn only where it is below the
# second. Photographs of few pixels have eyes with rims, too, and deviations from 7 on.
FLAT, EVEN = 1.5, 5.0
CHEEKS = np.array([50, 101, 36, 205, 280, 330, 266, 425])


@dataclass(frozen=True)
class _Oval:
    """An ellipse with axes along and across the eyes, in units of the outer eye corners' distance, from the middle of
    the window."""

    x: float
    y: float
    wide: float
    high: float

    def like(self, other: _Oval) -> bool:
        """Return whether two eyes are similar enough to belong to one face."""
        return all(0.7 < one / two < 1.43 for one, two in ((self.wide, other.wide), (self.high, other.high)))


def fit_drawn_eyes(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """Return the landmarks (478, 3) with the lids moved to the rims of drawn eyes, or None where the eyes are a person's.

    Args:
        picture: (H, W, 3) uint8; landmarks: (478, 3) in its pixels.
    """
    eyes = [_Eye.of(landmarks, ring, iris) for ring, iris in ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))]
    skin = _skin(picture, landmarks)
    if skin is None or skin[1] > EVEN:
        return None
    drawn = [eye.drawn(picture, *skin) for eye in eyes]
    left, right = drawn
    if left is None or right is None or not left.like(right):
        return None
    if max(oval.high / eye.own.high for oval, eye in zip((left, right), eyes, strict=True)) < HIGHER:
        return None
    fitted = landmarks.copy()
    for eye, oval in zip(eyes, (left, right), strict=True):
        fitted += eye.moved(landmarks, oval)
    return fitted


def looks_flat(picture: np.ndarray, landmarks: np.ndarray) -> bool:
    """Return whether both cheeks have one uniform colour, as in a flat drawing; light and skin vary in a photograph.

    Args:
        picture: (H, W, 3) uint8; landmarks: (478, 3) in its pixels.
    """
    skin = _skin(picture, landmarks)
    return skin is not None and skin[1] < FLAT


@dataclass(frozen=True, eq=False)
class DrawnLids:
    """How one drawn eye of a face shuts: everywhere between its corners, and its lids meet below the middle.

    Attributes:
        lids: the pairs of landmarks, upper and lower, by which its opening is measured.
        upper, lower: (7,) indices of the landmarks along either lid.
        moves: (478, 7) how a shut eye moves each landmark, in parts of the way from the upper lid to the lower one. Skin near
            the lids moves along.
    """

    lids: tuple[tuple[int, int], ...]
    upper: np.ndarray
    lower: np.ndarray
    moves: np.ndarray

    @classmethod
    def of(cls, shape: FaceShape) -> tuple[DrawnLids, DrawnLids]:
        """Return the left and the right eye of a face."""
        points = shape.points.double().numpy()[:, :2]
        return cls._at(points, LEFT_EYE, LEFT_LIDS), cls._at(points, RIGHT_EYE, RIGHT_LIDS)

    @classmethod
    def _at(cls, points: np.ndarray, ring: np.ndarray, lids: tuple[tuple[int, int], ...]) -> DrawnLids:
        lower, upper = ring[1:8], ring[:8:-1].copy()  # torch takes no index of negative steps
        edges = np.concatenate([lower, upper])
        middle, radii = (points[ring].min(0) + points[ring].max(0)) / 2, np.ptp(points[ring], axis=0) / 2
        places = (points - middle) / np.maximum(radii, 1e-6)
        share = np.square(np.clip((CALM - np.linalg.norm(places, axis=1)) / (CALM - 1), 0, 1))
        share[np.abs(places[:, 0]) > 0.9] = 0  # beside the corners nothing moves
        share[np.concatenate([ring, LEFT_IRIS, RIGHT_IRIS, LEFT_BROW, RIGHT_BROW])] = 0
        # Each point goes with the part of the lid that is nearest.
        shut = np.concatenate([(MEETING - 1) * np.eye(len(lower)), MEETING * np.eye(len(upper))])
        moves = share[:, None] * shut[np.linalg.norm(points[:, None] - points[edges], axis=-1).argmin(1)]
        moves[edges] = shut
        return cls(lids, upper, lower, moves)

    def shutting(self, opening: ArrayT) -> ArrayT:
        """Return how far the eye is shut (T,), where the mean face's is open by ``opening`` (T,) of its usual gap: 1 is shut,
        below 0 wide open. A nearly complete blink is made complete."""
        return 1 - ((opening - SHUT) / (1 - SHUT)).clip(0, 1) - (opening - 1).clip(0, WIDEST - 1)


def move_drawn_eyes(shape: FaceShape, motion: Motion, face_model: FaceModel) -> np.ndarray:
    """Return landmarks (T, 478, 3) in IMAGE coordinates of a face with drawn eyes, which are neutral as they are drawn.

    The lids open and shut by the same share as the mean face's.
    """
    still = replace(motion, eyes=np.zeros_like(motion.eyes))
    driving = face_model.animate(shape, still).numpy()
    level = Motion.neutral(len(motion), motion.fps).replace({"eyes": motion})
    mean = face_model.animate(FaceShape(face_model.mean), level).numpy()
    usual = face_model.mean[None].numpy()
    for eye in DrawnLids.of(shape):
        shut = eye.shutting(lid_gap(mean, eye.lids) / lid_gap(usual, eye.lids))[:, None, None]
        driving[..., :2] += shut * (eye.moves @ (driving[:, eye.lower, :2] - driving[:, eye.upper, :2]))
    return driving


def _skin(picture: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the median colour (3,) of both cheeks and the median deviation of their pixels from it, or None where the
    cheeks lie outside of the picture."""
    reach = max(1, round(0.04 * float(inter_ocular(landmarks))))
    parts = []
    for x, y in np.round(landmarks[CHEEKS, :2]).astype(int):
        if reach <= x < picture.shape[1] - reach and reach <= y < picture.shape[0] - reach:
            parts.append(
                picture[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3).astype(np.float32)
            )
    if not parts:
        return None
    pixels = np.concatenate(parts)
    colour = np.median(pixels, axis=0)
    return colour, float(np.median(np.abs(pixels - colour).max(1)))


@dataclass(frozen=True, eq=False)
class _Eye:
    """One eye of a mesh.

    Attributes:
        ring, iris: indices of its landmarks.
        middle: (2,) the middle of the ring in pixels.
        axes: (2, 2) unit columns along and across the eyes.
        unit: the distance of the outer eye corners in pixels.
        own: the mesh's eye.
        inner: the position of the midline between both eyes, along the eyes, from the middle of this one.
    """

    ring: np.ndarray
    iris: np.ndarray
    middle: np.ndarray
    axes: np.ndarray
    unit: float
    own: _Oval
    inner: float

    @classmethod
    def of(cls, landmarks: np.ndarray, ring: np.ndarray, iris: np.ndarray) -> _Eye:
        unit = float(inter_ocular(landmarks))
        right, left = landmarks[EYE_CORNERS[0], :2], landmarks[EYE_CORNERS[3], :2]
        along = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
        axes = np.stack([along, [-along[1], along[0]]], axis=1).astype(np.float64)
        points = landmarks[ring, :2] @ axes
        low, high = points.min(0), points.max(0)
        middle = axes @ ((low + high) / 2)
        wide, tall = np.maximum(high - low, 1e-6) / unit
        between = landmarks[EYE_CORNERS, :2].mean(0)
        inner = float((between - middle) @ axes[:, 0]) / unit
        return cls(ring, iris, middle, axes, unit, _Oval(0.0, 0.0, float(wide), float(tall)), inner)

    def place(self, landmarks: np.ndarray) -> np.ndarray:
        """Return the points (478, 2) in this eye's units."""
        return (landmarks[:, :2] - self.middle) @ self.axes / self.unit

    def drawn(self, picture: np.ndarray, skin: np.ndarray, spread: float) -> _Oval | None:
        """Return the drawn eye around the mesh's, or None."""
        step = 2 * REACH * self.unit / PIXELS
        corner = self.middle - self.axes.sum(1) * REACH * self.unit
        there = np.concatenate([self.axes * step, corner[:, None]], axis=1)
        flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
        window = cv2.warpAffine(picture, there, (PIXELS, PIXELS), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        unlike = (np.abs(window.astype(np.float32) - skin).max(-1) > max(UNLIKE, SPREADS * spread)).astype(np.uint8)
        # Two eyes may touch: each ends at the midline.
        midline = int(np.clip((self.inner / REACH + 1) * PIXELS / 2, 0, PIXELS))
        if self.inner > 0:
            unlike[:, midline:] = 0
        else:
            unlike[:, :midline] = 0
        unlike = cv2.morphologyEx(unlike, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        count, labels = cv2.connectedComponents(unlike)
        if count < 2:
            return None
        across = int(np.clip(round(self.own.wide / REACH * PIXELS / 4), 1, PIXELS // 4))
        near = labels[PIXELS // 2 - 4 : PIXELS // 2 + 5, PIXELS // 2 - across : PIXELS // 2 + across + 1]
        common = np.bincount(near[near > 0], minlength=1)
        if not common.any():
            return None
        patch = (labels == int(common.argmax())).astype(np.uint8)
        outlines, _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(patch, outlines, -1, 1, cv2.FILLED)
        left, top, wide, high = cv2.boundingRect(patch)
        if left == 0 or top == 0 or left + wide == PIXELS or top + high == PIXELS:
            return None
        whole = np.zeros_like(patch)
        middle = (left + (wide - 1) / 2, top + (high - 1) / 2)
        cv2.ellipse(whole, (middle, (wide, high), 0.0), 1, -1)
        if (patch & whole).sum() < LIKE_ELLIPSE * (patch | whole).sum():
            return None
        scale = 2 * REACH / PIXELS
        centre = (np.array(middle) + 0.5) * scale - REACH
        return _Oval(float(centre[0]), float(centre[1]), wide * scale, RIM * high * scale)

    def moved(self, landmarks: np.ndarray, oval: _Oval) -> np.ndarray:
        """Return the movement (478, 3) that brings the ring onto ``oval``; the skin around it moves along, less with
        distance."""
        places = self.place(landmarks)
        ring = places[self.ring]
        # Along the eye as they lie; across it on the ellipse, above or below.
        along = np.clip(ring[:, 0] / (self.own.wide / 2), -1, 1)
        half = len(self.ring) // 2
        sign = np.where(np.arange(len(self.ring)) < half, 1.0, -1.0)
        rise = np.sqrt(1 - along**2) * oval.high / 2
        target = np.stack([oval.x + along * oval.wide / 2, oval.y + sign * rise], axis=1)
        # Skin around the eye is pushed outward, so that the mesh's rim moves to the drawn rim. In units of the drawn eye.
        half_axes = np.array([oval.wide, oval.high]) / 2
        around = (places - (oval.x, oval.y)) / half_axes
        radius = np.maximum(np.linalg.norm(around, axis=1), 1e-6)
        grown = np.array([oval.wide / self.own.wide, oval.high / self.own.high])
        rim = 1 / np.linalg.norm(around / radius[:, None] * grown, axis=1)
        pushed = 1 + (radius - rim) / np.maximum(CALM - rim, 0.1) * (CALM - 1)
        share = np.where(radius < CALM, np.maximum(pushed - radius, 0) / radius, 0)
        # Nothing crosses the face's midline.
        share *= np.clip(3 * (1 - places[:, 0] / self.inner), 0, 1)
        change = share[:, None] * around * half_axes
        change[self.ring] = target - ring
        change[self.iris] = 0
        moved = np.zeros((POINTS, 3), landmarks.dtype)
        moved[:, :2] = change @ self.axes.T * self.unit
        return moved
