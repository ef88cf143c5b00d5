"""A drawn person: the face model's mesh, painted. It shows no real person, so everyone may use it.

The example of the tab *Mimic* imitates a video of it. Its face differs from the portrait's, and the tracker finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from ..face_model import topology
from ..face_model.linear import FaceModel, FaceShape
from ..motion import Motion
from ..motion.rotations import rotation_matrix

# Weights of the identity basis in standard deviations, chosen by eye: a face that differs from the portrait's.
IDENTITY = (1.2, -1.0, 0.8, 1.1, -0.7, 0.5)
SUPERSAMPLING = 2  # frames are drawn this many times larger and averaged
PARTS = 4  # each side of a triangle is divided into this many parts, for smooth shading
LIGHT = np.array([-0.45, -0.6, 0.66])
SKIN, LIP, BROW = (158.0, 104.0, 76.0), (150.0, 66.0, 64.0), (34, 24, 22)
HAIR, SHIRT, WALL = (30, 22, 22), (36, 84, 120), ((226, 212, 190), (186, 170, 150))
WHITE, IRIS, PUPIL, MOUTH, TEETH = (228, 224, 220), (64, 40, 24), (12, 10, 10), (60, 18, 20), (232, 226, 216)
# In canonical units: the neck's half width, where it starts and ends; how far the hair stands out.
NECK, HAIR_OUT = 0.52, 1.26
EARS = (234, 454)


@dataclass(frozen=True)
class Pose:
    """The head's place in a frame: maps canonical points (N, 3) to pixels (N, 3)."""

    rotation: np.ndarray
    translation: np.ndarray
    scale: float
    side: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        turned = points @ self.rotation.T * self.scale
        turned[:, :2] += self.translation
        return (turned + np.array([1, 1, 0])) * self.side / 2


def drawn(motion: Motion, side: int) -> Iterator[np.ndarray]:
    """Yield frames (side, side, 3) uint8 of the drawn person making ``motion``; its scale and translation are in image
    coordinates."""
    model = FaceModel.default()
    weights = np.array(IDENTITY, np.float32)
    points = model.mean.numpy() + np.tensordot(weights, model.identity_basis[: len(weights)].numpy(), 1)
    landmarks = model.animate(FaceShape(torch.from_numpy(points.astype(np.float32))), motion).numpy()
    large = SUPERSAMPLING * side
    wall = _wall(large)
    for index, frame in enumerate(landmarks):
        pose = Pose(
            rotation_matrix(motion.rotation[index]), motion.translation[index], float(motion.scale[index]), large
        )
        picture = _portrait(wall, (frame + np.array([1, 1, 0])) * large / 2, points, pose, model.triangles.numpy())
        yield np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def _portrait(
    wall: Image.Image, mesh: np.ndarray, neutral: np.ndarray, pose: Pose, triangles: np.ndarray
) -> Image.Image:
    """Draw one frame from back to front: hair, body, eyes and mouth, skin with holes for these, brows, lids, fringe."""
    picture = wall.copy()
    pen = ImageDraw.Draw(picture)
    unit = pose.scale * pose.side / 2
    _behind(pen, neutral, pose, unit)
    _eyes(pen, mesh, unit)
    _mouth(pen, mesh)
    _skin(pen, mesh, triangles)
    for ring in (topology.LEFT_BROW, topology.RIGHT_BROW):
        pen.polygon(_flat(mesh[ring]), fill=BROW)
    for ring in (topology.LEFT_EYE, topology.RIGHT_EYE):
        half = len(ring) // 2
        pen.line(_flat(mesh[np.append(ring[half:], ring[0])]), fill=PUPIL, width=round(0.03 * unit), joint="curve")
    pen.polygon(_flat(pose(_fringe(neutral))), fill=HAIR)
    return picture.filter(ImageFilter.GaussianBlur(0.6))


def _behind(pen: ImageDraw.ImageDraw, neutral: np.ndarray, pose: Pose, unit: float) -> None:
    """Draw hair, neck, shoulders and ears; the body follows half of the head's translation."""
    side, dark = pose.side, tuple(round(0.62 * value) for value in SKIN)
    x, y = pose(np.array([[0.0, -0.25, -0.6]]))[0, :2]
    pen.ellipse((x - unit, y - 1.12 * unit, x + unit, y + 0.9 * unit), fill=HAIR)
    chin, low = pose(neutral[[152]])[0, :2]
    x, wide = 0.5 * chin + 0.25 * side, NECK * unit
    high, low = low - 0.5 * unit, low + 0.42 * unit
    pen.polygon([(chin - wide, high), (chin + wide, high), (x + 1.15 * wide, side), (x - 1.15 * wide, side)], fill=dark)
    pen.ellipse((x - 2.3 * unit, low, x + 2.3 * unit, low + 3 * unit), fill=SHIRT)
    pen.ellipse((x - 0.62 * unit, low - 0.22 * unit, x + 0.62 * unit, low + 0.3 * unit), fill=dark)
    for ear in EARS:
        x, y = pose(neutral[[ear]] * np.array([1.03, 1, 1]))[0, :2]
        colour = tuple(round(0.8 * value) for value in SKIN)
        pen.ellipse((x - 0.13 * unit, y - 0.2 * unit, x + 0.13 * unit, y + 0.26 * unit), fill=colour)


def _eyes(pen: ImageDraw.ImageDraw, mesh: np.ndarray, unit: float) -> None:
    for ring, iris in ((topology.LEFT_EYE, topology.LEFT_IRIS), (topology.RIGHT_EYE, topology.RIGHT_IRIS)):
        pen.polygon(_flat(mesh[ring]), fill=WHITE)
        x, y = mesh[iris[0], :2]
        radius = float(np.linalg.norm(mesh[iris[1:], :2] - mesh[iris[0], :2], axis=1).max())
        for share, colour in ((1.0, IRIS), (0.5, PUPIL)):
            pen.ellipse((x - share * radius, y - share * radius, x + share * radius, y + share * radius), fill=colour)
        glint, x, y = 0.22 * radius, x - 0.3 * radius, y - 0.35 * radius
        pen.ellipse((x - glint, y - glint, x + glint, y + glint), fill=(255, 255, 255))


def _mouth(pen: ImageDraw.ImageDraw, mesh: np.ndarray) -> None:
    inner = mesh[topology.LIPS_INNER]
    pen.polygon(_flat(inner), fill=MOUTH)
    half = len(inner) // 2
    upper = inner[half:]
    down = (inner[:half].mean(0) - upper.mean(0)) * 0.3
    pen.polygon(_flat(np.concatenate([upper, upper[::-1] + down])), fill=TEETH)


def _skin(pen: ImageDraw.ImageDraw, mesh: np.ndarray, triangles: np.ndarray) -> None:
    """Draw the skin as small triangles, the farthest first, coloured by region and shaded by their normals."""
    lips = np.isin(triangles, topology.LIPS).all(axis=1, keepdims=True)
    colours = np.where(lips, np.array(LIP), np.array(SKIN))
    normals = _normals(mesh, triangles)
    corners = _cut(mesh[triangles])  # (F, N, 3 corners, 3)
    facing = _cut(normals[triangles]).mean(2)
    facing /= np.linalg.norm(facing, axis=-1, keepdims=True) + 1e-9
    light = LIGHT / np.linalg.norm(LIGHT)
    lit = np.clip(facing @ light, 0, None)
    shine = np.clip(2 * lit * facing[..., 2] - light[2], 0, None) ** 12
    brightness = 0.52 + 0.66 * lit
    shaded = np.clip(colours[:, None] * brightness[..., None] + 34 * shine[..., None], 0, 255).astype(int)
    corners, shaded = corners.reshape(-1, 3, 3), shaded.reshape(-1, 3)
    for index in np.argsort(corners[..., 2].mean(1)):
        colour = tuple(shaded[index].tolist())
        pen.polygon(_flat(corners[index]), fill=colour, outline=colour)


def _normals(mesh: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return unit normals (478, 3) toward the camera: each point's is the mean over the triangles around it."""
    first, second, third = (mesh[triangles[:, corner]] for corner in range(3))
    faces = np.cross(second - first, third - first)
    faces *= np.sign(faces[:, 2:] + 1e-9)
    normals = np.zeros_like(mesh)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)


def _cut(corners: np.ndarray) -> np.ndarray:
    """Interpolate values at the corners of triangles (F, 3, 3) to those of PARTS**2 smaller triangles each: (F,
    PARTS**2, 3, 3)."""
    places = []
    for i in range(PARTS):
        for j in range(PARTS - i):
            places.append([(i, j), (i + 1, j), (i, j + 1)])
            if i + j < PARTS - 1:
                places.append([(i + 1, j), (i + 1, j + 1), (i, j + 1)])
    first = np.array(places) / PARTS
    weights = np.concatenate([1 - first.sum(-1, keepdims=True), first], -1)  # (N, 3, 3)
    return np.einsum("nck,fkd->fncd", weights, corners)


def _fringe(neutral: np.ndarray) -> np.ndarray:
    """Return the outline of the hair over the forehead, in canonical coordinates: from temple to temple along the face,
    and back over the head."""
    oval = neutral[topology.FACE_OVAL]
    line = np.concatenate([oval[-6:], oval[:7]])  # from the one temple over the forehead to the other
    middle = np.array([0.0, -0.1, -0.3])
    below = middle + (line - middle) * np.array([0.99, 0.93, 1.0])
    above = middle + (line - middle) * np.array([HAIR_OUT * 0.97, HAIR_OUT, 1.0])
    return np.concatenate([below, above[::-1]])


def _wall(side: int) -> Image.Image:
    down = np.linspace(0, 1, side)[:, None, None]
    colours = (1 - down) * np.array(WALL[0]) + down * np.array(WALL[1])
    return Image.fromarray(np.broadcast_to(colours, (side, side, 3)).astype(np.uint8))


def _flat(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points[:, :2]]
