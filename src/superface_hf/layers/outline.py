"""The outline of a portrait's person, and the part of the picture that it covers when it moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ..face_model.coordinates import Square
from .motion import FOLLOWING, HeadMotion, head_motion, torso_motion
from .portrait import Box, PortraitLayers

# The matte's outline is taken in a picture of this size.
OUTLINE = 192
# Pixels around the moved person that are composed too.
MARGIN = 4


@dataclass(frozen=True, eq=False)
class Outline:
    """The convex hulls of ``head`` (N, 2) and ``torso`` (M, 2) in IMAGE coordinates, and the layers' box."""

    head: Tensor
    torso: Tensor
    box: Box
    crop: Square

    @classmethod
    def of(cls, layers: PortraitLayers, crop: Square, own: Tensor) -> Outline:
        rows, columns = layers.box
        scale = min(1.0, OUTLINE / max(layers.alpha.shape))
        size = tuple(max(1, round(n * scale)) for n in layers.alpha.shape[::-1])
        little = cv2.resize(layers.alpha, size, interpolation=cv2.INTER_AREA) > 0
        y, x = np.nonzero(little)
        # All corners of each pixel, because the outline may pass anywhere through it.
        points = np.stack([x, y], axis=1)[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        share = np.array(size)
        pixels = points.reshape(-1, 2) / share * np.array(layers.alpha.shape[::-1]) + [columns.start, rows.start]
        image = (pixels - [crop.left, crop.top]) * (2 / crop.side) - 1
        found = torch.from_numpy(image).float()
        if not len(found):
            return cls(found, found, layers.box, crop)
        head = head_motion(own[None], own[None])
        # Where the head ends depends on how far it goes: both ways count.
        on_head = torso_motion(head, torch.tensor([0.0, torch.inf]), found.T[:, None])[1][:, 0, 0]
        return cls(_hull(found[on_head.amax(0) > 0]), _hull(found[on_head.amin(0) < 1]), layers.box, crop)

    def rects(self, head: HeadMotion, driving: Tensor, shape: tuple[int, int]) -> list[Box]:
        """Return the rectangles that show the person in the picture or in the frame.

        Args:
            head: the head's motion to the B frames.
            driving: (B, 478, 3) landmarks in IMAGE coordinates.
            shape: height and width of the picture.
        """
        turned = torch.linalg.inv(head.turn.double()).float()
        points = self.head.to(driving.device)[None] - head.before[:, None]
        heads = torch.einsum("bij,bnj->bni", turned, points) + head.after[:, None]
        follows = FOLLOWING * (head.after - head.before)
        torsos = self.torso.to(driving.device)[None] + follows[:, None]
        moved = torch.cat((heads, torsos, driving[..., :2]), dim=1)
        low, high = moved.amin(1).cpu().double().numpy(), moved.amax(1).cpu().double().numpy()
        rows, columns = self.box
        half, corner = self.crop.side / 2, np.array([self.crop.left, self.crop.top])
        result = []
        for first, last in zip((low + 1) * half + corner, (high + 1) * half + corner, strict=True):
            left, top = np.minimum(np.floor(first) - MARGIN, [columns.start, rows.start])
            right, bottom = np.maximum(np.ceil(last) + MARGIN, [columns.stop, rows.stop])
            across = slice(max(0, int(left)), min(shape[1], int(right)))
            result.append((slice(max(0, int(top)), min(shape[0], int(bottom))), across))
        return result


def _hull(points: Tensor) -> Tensor:
    return torch.from_numpy(cv2.convexHull(points.numpy())[:, 0]) if len(points) else points
