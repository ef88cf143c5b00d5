"""The mesh drawn as an image: which part of which face is where, for a convolution to read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .mesh_flow import face_radius, splat
from .topology import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE

_EYES = np.concatenate([LEFT_EYE, RIGHT_EYE])

# Width of the drawn dots, in radii of the face: about the spacing of the landmarks, so that the skin is closed.
DOT_WIDTH = 0.08
FINE_DOT_WIDTH = 0.04
MESH_CHANNELS = 7


def mesh_image(landmarks: Tensor, canonical: Tensor, size: int) -> Tensor:
    """Draws the mesh in the picture's plane.

    Args:
        landmarks: (B, 478, 3) in image coordinates.
        canonical: (478, 3) the mean face; a point's place in it is its colour, so colours say "tip of the nose" or
            "left mouth corner" whoever the face belongs to.
        size: side of the image.

    Returns:
        (B, 7, size, size): three colours, coverage, and the density of lips (outer, inner) and eye contours.
    """
    batch = landmarks.shape[0]
    radius = face_radius(landmarks)
    colours = torch.cat((canonical, torch.ones_like(canonical[:, :1])), dim=-1).expand(batch, -1, -1)
    drawn = splat(landmarks, colours.to(landmarks), DOT_WIDTH * radius, size)
    coverage = drawn[:, 3:]
    layers = [drawn[:, :3] / (coverage + 0.05), coverage / (coverage + 1.0)]
    for part in (LIPS_OUTER, LIPS_INNER, _EYES):
        points = landmarks[:, part]
        dots = splat(points, torch.ones_like(points[..., :1]), FINE_DOT_WIDTH * radius, size)
        layers.append(dots / (dots + 0.5))
    return torch.cat(layers, dim=1)
