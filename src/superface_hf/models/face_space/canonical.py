"""The canonical frame of portraits: a similarity makes a face upright, and the mesh's flow aligns it with the mean mesh.

PIXELS and IMAGE coordinates in this module are those of the canonical square of ``SIZE`` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...face_model.mesh_flow import mesh_flow, warp
from ...face_model.topology import STABLE
from ...motion.rotations import fit_similarity

SIZE = 512  # pixels of the canonical square
UNIT = 116.0 / SIZE  # the mean face's inter-ocular distance, as a share of the side
CENTRE = (0.5, 0.47)  # the position of the mean face's middle, as shares of the side
FLOW_SIZE = 128  # cells of the flow between meshes
FLOW_ROUNDS = 2
SQUARE = Square(0, 0, SIZE)


@lru_cache(maxsize=1)
def mean_landmarks() -> np.ndarray:
    """Return the mean face's landmarks (478, 3) in PIXELS of the canonical square."""
    return on_canvas(FaceModel.default().mean.double().numpy())


def on_canvas(points: np.ndarray) -> np.ndarray:
    """Convert points (..., 3) in the face model's canonical units to PIXELS."""
    return np.asarray(points, np.float64) * (UNIT * SIZE) + np.array([CENTRE[0] * SIZE, CENTRE[1] * SIZE, 0.0])


def off_canvas(points: np.ndarray) -> np.ndarray:
    """Convert PIXELS (..., 3) to the face model's canonical units."""
    return (np.asarray(points, np.float64) - np.array([CENTRE[0] * SIZE, CENTRE[1] * SIZE, 0.0])) / (UNIT * SIZE)


@dataclass(frozen=True, eq=False)
class Upright:
    """The similarity that moves a picture's face upright into the canonical square.

    Attributes:
        matrix: (2, 3) from the picture's pixels to PIXELS.
    """

    matrix: np.ndarray

    @classmethod
    def of(cls, landmarks: np.ndarray) -> Upright:
        """Fit the similarity for a face with ``landmarks`` (478, 3) in pixels of a picture."""
        flat = np.pad(np.asarray(landmarks, np.float64)[STABLE, :2], ((0, 0), (0, 1)))
        goal = np.pad(mean_landmarks()[STABLE, :2], ((0, 0), (0, 1)))
        rotation, scale, offset = fit_similarity(flat, goal)
        return cls(np.concatenate([scale * rotation[:2, :2], offset[:2, None]], 1))

    @property
    def scale(self) -> float:
        """Canonical pixels per pixel of the picture."""
        return float(np.linalg.norm(self.matrix[:, 0]))

    def to_canonical(self, landmarks: np.ndarray) -> np.ndarray:
        """Convert landmarks (478, 3) in pixels of the picture to PIXELS."""
        plane = landmarks[:, :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([plane, landmarks[:, 2:] * self.scale], 1)

    def cut_out(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the canonical square of a picture (H, W, 3) uint8, and a mask (SIZE, SIZE) bool of the pixels inside
        the picture.

        Beyond the picture's border, its edge is repeated.
        """
        matrix, scale = self.matrix.copy(), self.scale
        if scale < 1:  # the picture is finer: blur as area resampling would
            shrunk = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            matrix[:, 0] *= picture.shape[1] / shrunk.shape[1]
            matrix[:, 1] *= picture.shape[0] / shrunk.shape[0]
            picture = shrunk
        matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # pixel centres, as OpenCV counts
        size, flags = (SIZE, SIZE), cv2.INTER_CUBIC
        cut = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        inside = np.ones(picture.shape[:2], np.uint8)
        return cut, cv2.warpAffine(inside, matrix, size, flags=cv2.INTER_NEAREST) > 0


def flow_between(source: np.ndarray, driving: np.ndarray) -> Tensor:
    """Return the backward flow (1, 2, FLOW_SIZE, FLOW_SIZE) that moves a face from landmarks ``source`` to ``driving``,
    both (478, 3) PIXELS; it fades out around the face."""
    pair = [torch.from_numpy(SQUARE.to_image(points))[None].float() for points in (source, driving)]
    displacement, fade = mesh_flow(pair[0], pair[1], FLOW_SIZE, rounds=FLOW_ROUNDS)
    return displacement * fade


def laid_on(pictures: Tensor, source: np.ndarray, driving: np.ndarray) -> Tensor:
    """Warp a picture (1, C, S, S) from one mesh to another, (478, 3) PIXELS each."""
    return warp(pictures, flow_between(source, driving), mode="bicubic")
