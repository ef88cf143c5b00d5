"""Render portraits that turn their heads before a drawn wall of straight lines, and measure how the wall changes and
its lines bend.

Every picture is rendered twice, before a light and before a dark wall. Where the two results differ by as much as the walls do,
the wall is seen, moved, painted anew or as it was; where they differ less, the person is (Smith and Blinn 1996, "Blue screen
matting"). So a renderer that takes a piece of the wall for the person and carries it along is found out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image

from ..face_model.coordinates import Square
from ..face_model.linear import FaceModel
from ..layers.drawing import blended
from ..layers.matting import cut_out_person, foreground_colours
from ..layers.portrait import cut_out, to_uint8
from ..metrics.straightness import Line, bend, draw_lines
from ..motion import Motion
from ..motion.rotations import rotation_matrix, rotation_vector
from .data import NamedPortrait
from .methods import MOVING, Methods
from .sheets import CELL, cell

# Levels of the two walls and of the grain on them, and how much darker lines are.
LIGHT, DARK, GRAIN, DEPTH = 215, 105, 2, 80
# Lines are so far apart; each is out of place and out of true by up to so much, all of them by up to the last.
SPACING, JITTER, TILT, COMMON_TILT = 40.0, 3.0, 0.004, 0.05
RED, GREEN, BLUE = range(3)
# A pixel shows the person where the two results differ by so much less (or more) than the walls. A wall that was
# painted anew in both results, each with its own grain, differs by less, and counts as a changed wall.
PERSON = 16
# So many pixels (of a picture of 512) around the person are left out, because an outline is soft.
MARGIN = 6 / 512


@dataclass(frozen=True, eq=False)
class Wall:
    """A seeded wall in two lights: vertical lines in red, horizontal ones in blue, none in green.

    Attributes:
        light, dark: (S, S, 3) uint8, equal except for their brightness.
        upright, level: lines of the picture and of the transposed picture.
    """

    light: np.ndarray
    dark: np.ndarray
    upright: list[Line]
    level: list[Line]

    @classmethod
    def draw(cls, size: int, seed: int) -> Wall:
        rng = np.random.default_rng(seed)
        upright, level = _parallels(size, rng), _parallels(size, rng)
        wall = rng.integers(-GRAIN, GRAIN + 1, (size, size, 3)).astype(np.float64)
        wall[..., RED] -= DEPTH * draw_lines(upright, size, size)
        wall[..., BLUE] -= DEPTH * draw_lines(level, size, size).T
        light, dark = ((brightness + wall.round()).astype(np.uint8) for brightness in (LIGHT, DARK))
        return cls(light, dark, upright, level)

    def bend(self, frame: np.ndarray, source: np.ndarray, seen: np.ndarray) -> float:
        """Return the largest displacement of any line of a frame (S, S, 3) from the source, in pixels."""
        upright = bend(frame[..., RED], source[..., RED], self.upright, seen, DEPTH)
        level = bend(frame[..., BLUE].T, source[..., BLUE].T, self.level, seen.T, DEPTH)
        return float(np.fmax(upright, level))


def _parallels(size: int, rng: np.random.Generator) -> list[Line]:
    tilt = rng.uniform(-COMMON_TILT, COMMON_TILT)
    starts = np.arange(-size * COMMON_TILT, size * (1 + COMMON_TILT), SPACING) + SPACING / 2
    return [Line(start + rng.uniform(-JITTER, JITTER), tilt + rng.uniform(-TILT, TILT)) for start in starts.tolist()]


def turned(rest: Motion, degrees: float) -> Motion:
    """Return a portrait's own motion (1 frame) with its head turned to the side on which it becomes more frontal."""
    looks_right = rotation_matrix(rest.rotation)[0, 0, 2] > 0
    angle = np.deg2rad(-degrees if looks_right else degrees)
    matrix = rotation_matrix(rest.rotation) @ rotation_matrix(np.array([[0, angle, 0]]))
    return replace(rest, rotation=rotation_vector(matrix))


def wall_is_seen(lit: np.ndarray, unlit: np.ndarray, margin: int) -> np.ndarray:
    """Return a mask (S, S) bool of pixels where pictures (S, S, 3) before the light and the dark wall show the wall
    alone, with a margin."""
    difference = lit[..., GREEN].astype(int) - unlit[..., GREEN]
    return ~_grown(np.abs(difference - (LIGHT - DARK)) > PERSON, margin)


def wall_figures(
    item: NamedPortrait, methods: Methods, degrees: tuple[int, ...], seed: int
) -> tuple[dict[int, dict[str, dict[str, float]]], list[Image.Image]]:
    """Turn -> method -> "unchanged", the share of pixels that are exactly the source's where neither shows the person, and
    "bend", how far the most bent line is away from its place there; and the cells of a contact sheet."""
    size = methods.size
    square = Square(0, 0, size)
    picture = to_uint8(item.image)[0]
    alpha = cut_out_person(picture, square.to_pixels(item.portrait.landmarks), methods.matte)
    colours = foreground_colours(picture, alpha)
    wall = Wall.draw(size, seed)
    sources = [blended(colours, cv2.convertScaleAbs(alpha, alpha=255), behind) for behind in (wall.light, wall.dark)]
    rest = item.portrait.motion
    motion = Motion.concatenate([turned(rest, angle) for angle in degrees])
    driving = FaceModel.default().animate(item.portrait.shape, motion)
    lit, unlit = (methods.render(cut_out(source, square, size), item.landmarks, driving, size) for source in sources)
    margin = round(MARGIN * size)
    before = ~_grown(alpha > 0, margin)
    figures: dict[int, dict[str, dict[str, float]]] = {angle: {} for angle in degrees}
    cells = [cell(sources[0], CELL)]
    for index, angle in enumerate(degrees):
        for method in MOVING:
            frame = lit[method][index]
            seen = before & wall_is_seen(frame, unlit[method][index], margin)
            figures[angle][method] = {
                "unchanged": unchanged(frame, sources[0], seen),
                "bend": wall.bend(frame, sources[0], seen),
            }
            cells.append(cell(frame, CELL))
    return figures, cells


def unchanged(frame: np.ndarray, source: np.ndarray, seen: np.ndarray) -> float:
    """Return the share of ``seen`` pixels (S, S) that are exactly the source's (S, S, 3); NaN where none is seen."""
    return float((frame == source).all(-1)[seen].mean()) if seen.any() else float("nan")


def _grown(mask: np.ndarray, margin: int) -> np.ndarray:
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), shape) > 0
