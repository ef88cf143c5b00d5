"""Frames of a portrait in layers: the person moves, at the picture's own resolution, anywhere in it.

For each frame: the analytic flow on a coarse *stage* over everything that shows or showed the person, the renderer's finer flow
in its window, one lookup in the person's own colours, and ``alpha * person + (1 - alpha) * plate``, written into a copy of the
picture. Where neither the picture nor the frame shows the person, the picture stays bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model.coordinates import Square
from ..face_model.mesh_flow import pixel_centers
from ..utils.easing import smoothstep
from .drawing import Drawing, Painting, Plan, size_of
from .motion import (
    FOLLOWING,
    NECK,
    TORSO,
    HeadMotion,
    MeshMotion,
    PersonMotion,
    Window,
    head_motion,
    head_weight,
)
from .portrait import Box, PortraitLayers
from .rendered import RenderedWindow

# Cells of the stage along its longer side. Motion is smooth there: what is fine lies in the window.
STAGE = 64
# The renderer's window goes over into the stage over this share of its side.
FEATHER = 0.10
# Pixels around the moved person that are composed too.
MARGIN = 4
# Changes smaller than this, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3
# The matte's outline is followed in a picture of this size.
OUTLINE = 192


class Compositor:
    """Composes frames of one portrait.

    Args:
        layers: the portrait's.
        crop: the square whose IMAGE coordinates landmarks and windows have.
        landmarks: (478, 3) the portrait's.
        motion: how the person moves around the renderer's windows, if the renderer knows it.
    """

    def __init__(
        self, layers: PortraitLayers, crop: Square, landmarks: np.ndarray, motion: PersonMotion | None = None
    ) -> None:
        self._crop = crop
        own = torch.from_numpy(landmarks).float()
        self._motion = motion or MeshMotion(own)
        height, width = layers.picture.shape[:2]
        self._shape = (height, width)
        self._drawing = Drawing(layers, float(np.ptp(landmarks[:, 0])) * crop.side / 2)
        self._outline = Outline.of(layers, crop, own)

    def __call__(
        self,
        rendered: RenderedWindow,
        driving: Tensor,
        behind: Sequence[np.ndarray] | None = None,
        transparent: bool = False,
    ) -> list[np.ndarray]:
        """Composes B frames.

        Args:
            rendered: what the renderer gave for them.
            driving: (B, 478, 3) landmarks in IMAGE coordinates of the crop.
            behind: other backgrounds, (H, W, 3) uint8 for each frame.
            transparent: gives the person's own colours, and how much of each pixel is theirs.

        Returns:
            (H, W, 3) uint8 each; transparent ones (H, W, 4), colours not multiplied by alpha.
        """
        plans = self._plans(rendered, driving)
        return [
            self._drawing(plan, None if behind is None else behind[index], transparent)
            for index, plan in enumerate(plans)
        ]

    @property
    def plate(self) -> np.ndarray:
        """(H, W, 3) uint8: the whole picture without the person."""
        return self._drawing.plate

    def _plans(self, rendered: RenderedWindow, driving: Tensor) -> list[Plan]:
        driving = driving.detach().float()
        head = self._motion.head(driving, Window.same(driving))
        rects = self._outline.rects(head, driving, self._shape)
        cells = [max(1, -(-max(size_of(rect)) // (STAGE - 2))) for rect in rects]
        corners = [(rect[1].start - cell, rect[0].start - cell) for rect, cell in zip(rects, cells, strict=True)]
        squares = [Square(*corner, STAGE * cell) for corner, cell in zip(corners, cells, strict=True)]
        stage = Window.of_squares(self._crop, squares, driving)
        flow = self._motion.flow(stage.enter(driving), stage, STAGE)
        inside, feather = self._feathered(rendered, stage, flow)
        stages, windows = self._pixels(stage.places(flow)), self._pixels(rendered.window.places(inside))
        paintings = self._paintings(rendered, feather)
        return [Plan(*parts) for parts in zip(rects, corners, cells, stages, windows, paintings, strict=True)]

    def _feathered(self, rendered: RenderedWindow, stage: Window, flow: Tensor) -> tuple[Tensor, Tensor]:
        """The window's flow, which goes over into the stage's at its border; and how much of it is the window's own."""
        window, fine = rendered.window, rendered.flow.detach().float()
        size = fine.shape[-1]
        here = window.places(torch.zeros_like(fine)).permute(0, 2, 3, 1)
        grid = (here - stage.centre[:, None, None]) / stage.scale[:, None, None, None]
        around = F.grid_sample(flow, grid, padding_mode="border", align_corners=False)
        around = around * (stage.scale / window.scale)[:, None, None, None]
        return torch.lerp(around, fine, _feather(size, fine)), _feather(rendered.keep.shape[-1], fine)

    def _paintings(self, rendered: RenderedWindow, feather: Tensor) -> list[Painting]:
        keep = 1 + feather * (rendered.keep.detach().float() - 1)
        paint = feather * rendered.paint.detach().float()
        change = feather * rendered.alpha_change.detach().float()
        strength = torch.stack([part.abs().amax((1, 2, 3)) for part in (keep - 1, paint, change)]).amax(0)
        empty = (strength < UNPAINTED).tolist()
        return [
            Painting(square, k[0], p, a[0], nothing)
            for square, k, p, a, nothing in zip(
                rendered.window.squares(self._crop),
                keep.cpu().numpy(),
                (255 * paint).permute(0, 2, 3, 1).contiguous().cpu().numpy(),
                (255 * change).cpu().numpy(),
                empty,
                strict=True,
            )
        ]

    def _pixels(self, places: Tensor) -> list[np.ndarray]:
        """IMAGE coordinates (B, 2, s, s) of the crop -> PIXELS, (s, s, 2) each."""
        corner = places.new_tensor([self._crop.left, self._crop.top])[:, None, None]
        pixels = (places + 1) * (self._crop.side / 2) + corner
        return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


@dataclass(frozen=True, eq=False)
class Outline:
    """Where the person ends: points in IMAGE coordinates, ``head`` (N, 2) and ``torso`` (M, 2), and the layers' box."""

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
        # The corners of each pixel, as it may be anywhere in it.
        points = np.stack([x, y], axis=1)[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        share = np.array(size)
        pixels = points.reshape(-1, 2) / share * np.array(layers.alpha.shape[::-1]) + [columns.start, rows.start]
        image = (pixels - [crop.left, crop.top]) * (2 / crop.side) - 1
        found = torch.from_numpy(image).float()
        if not len(found):
            return cls(found, found, layers.box, crop)
        head = head_motion(own[None], own[None])
        _, below = head_weight(head, found.T[:, None])
        level = below[0, 0, 0]
        return cls(_hull(found[level < TORSO]), _hull(found[level > NECK]), layers.box, crop)

    def rects(self, head: HeadMotion, driving: Tensor, shape: tuple[int, int]) -> list[Box]:
        """What of the picture shows the person in it, or will in the frame."""
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


def _feather(size: int, like: Tensor) -> Tensor:
    """(1, 1, size, size): 1 inside a window, smoothly to 0 at its border."""
    edge = smoothstep(1 - pixel_centers(size, like).abs(), 0.0, 2 * FEATHER)
    return (edge[:, None] * edge)[None, None]


__all__ = ["Compositor"]
