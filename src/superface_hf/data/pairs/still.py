"""Pairs from still portraits: far more faces than the clips have, and drawn or painted ones among them.

A portrait is warped along its own mesh to the pose and expression of a made-up motion. The warped picture is the source and
the untouched one the target, so what the renderer must paint is always real.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.mesh_flow import mesh_flow, warp
from ...motion import Motion
from ..jpeg import decode_jpeg
from ..prepared_set import load_clips, load_portraits

COLLECTION = "portraits_large"
# Every fifth picture is kept for validation.
HELD_OUT = 5
SMALLEST_FACE = 180  # pixels
LARGEST_TURN = 0.35  # radians between source and target: further, a warped picture is no likely photograph


class StillPairs:
    """Draws pairs from still portraits; their motions come from every ``every``-th training clip."""

    def __init__(self, prepared: Path, every: int = 5) -> None:
        self.face_model = FaceModel.default()
        portraits = load_portraits(prepared, COLLECTION)
        picture_of, landmarks = portraits.picture_of, portraits.landmarks
        side = (landmarks[:, :, :2].max(1) - landmarks[:, :, :2].min(1)).max(1)
        alone = np.bincount(picture_of)[picture_of] == 1
        wanted = np.flatnonzero(alone & (side >= SMALLEST_FACE) & (picture_of % HELD_OUT != 0))
        self.jpegs = [portraits.jpegs[number] for number in picture_of[wanted]]
        self.landmarks = landmarks[wanted]
        self.motions: list[Motion] = []
        for clip in islice(load_clips(prepared, "train", pictures=False), 0, None, every):
            square = Square.around_picture(*clip.size)
            self.motions.append(self.face_model.fit(square.to_image(clip.landmarks[clip.found][::3]), clip.fps)[1])

    def draw(self, rng: np.random.Generator, size: int) -> tuple[list[np.ndarray], list[np.ndarray], bool]:
        """Return the source and target (size, size, 3) uint8, their landmarks (478, 3) in image coordinates, and whether
        sharp."""
        number = int(rng.integers(len(self.jpegs)))
        picture = Image.fromarray(decode_jpeg(self.jpegs[number]))
        square = self._jittered(Square.around_face(self.landmarks[number]), rng)
        target = crop(picture, square, size)
        mesh = torch.from_numpy(square.to_image(self.landmarks[number]))[None]
        _, own = self.face_model.fit(mesh, fps=25.0)
        moved = self.face_model.animate(self.face_model.neutral_shape(mesh[0], own), self._moved(own, rng))
        displacement, fade = mesh_flow(mesh, moved, size // 4)
        pixels = torch.from_numpy(target).permute(2, 0, 1)[None].float()
        source = warp(pixels, displacement * fade)[0].permute(1, 2, 0).round().byte().numpy()
        return [source, target], [moved[0].numpy(), mesh[0].numpy()], square.side >= 0.7 * size

    def _moved(self, own: Motion, rng: np.random.Generator) -> Motion:
        for _ in range(10):
            motion = self.motions[int(rng.integers(len(self.motions)))]
            first, second = rng.integers(len(motion), size=2)
            moved = motion[int(second)].relative_to(motion[int(first)], own)
            turn = np.abs(motion.rotation[second] - motion.rotation[first]).max()
            if turn < LARGEST_TURN and np.abs(moved.translation - own.translation).max() < 0.25:
                return moved
        return own

    def _jittered(self, square: Square, rng: np.random.Generator) -> Square:
        side = square.side * rng.uniform(0.9, 1.2)
        shift = rng.uniform(-0.06, 0.06, size=2) * side + (square.side - side) / 2
        return Square(square.left + shift[0], square.top + shift[1], side)


def crop(picture: Image.Image, square: Square, size: int) -> np.ndarray:
    """Return a square of the picture at (size, size, 3) uint8; where it leaves the picture, the edge is repeated."""
    left, top = int(np.floor(square.left)), int(np.floor(square.top))
    right, bottom = int(np.ceil(square.left + square.side)), int(np.ceil(square.top + square.side))
    pad = ((max(0, -top), max(0, bottom - picture.height)), (max(0, -left), max(0, right - picture.width)), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(picture), pad, mode="edge"))
    x, y = square.left + pad[1][0], square.top + pad[0][0]
    box = (x, y, x + square.side, y + square.side)
    return np.array(padded.resize((size, size), Image.Resampling.BICUBIC, box=box))
