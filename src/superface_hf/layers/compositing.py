"""Compose frames of a portrait from its layers, at the picture's own resolution, anywhere in the picture.

For each frame, the analytic flow is computed on a coarse grid, the *stage*, which covers the person in the picture and
in the frame. In the renderer's window its finer flow replaces it. The person's colours are sampled once along this
flow, and ``alpha * person + (1 - alpha) * plate`` is written into a copy of the picture. Pixels that show the person
neither in the picture nor in the frame stay bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model.coordinates import Square
from ..face_model.mesh_flow import pixel_centers
from ..utils.easing import smoothstep
from .drawing import Drawing, Painting, Plan, size_of
from .motion import MeshMotion, Window
from .outline import Outline
from .portrait import PortraitLayers
from .rendered import RenderedWindow

# Cells of the stage along its longer side. Its motion is smooth; fine motion lies in the window.
STAGE = 64
# The renderer's window blends into the stage over this share of its side.
FEATHER = 0.10
# Changes smaller than this, of a picture in [0, 1], are not painted.
UNPAINTED = 1e-3


class Compositor:
    """Composes frames of one portrait.

    Args:
        layers: the portrait's layers.
        crop: the square of the IMAGE coordinates of landmarks and windows.
        landmarks: (478, 3) the portrait's landmarks.
    """

    def __init__(self, layers: PortraitLayers, crop: Square, landmarks: np.ndarray) -> None:
        self._crop = crop
        own = torch.from_numpy(landmarks).float()
        self._motion = MeshMotion(own)
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
        """Compose B frames.

        Args:
            rendered: the renderer's output for them.
            driving: (B, 478, 3) landmarks in IMAGE coordinates of the crop.
            behind: other backgrounds, (H, W, 3) uint8 for each frame.
            transparent: whether to return the person's own colours with their alpha instead.

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
        """Return the window's flow, blended into the stage's at its border, and the weights of the blend."""
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
        added = (255 * torch.cat((paint, change), dim=1)).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [
            Painting(square, kept[0], adding) if most >= UNPAINTED else Painting(square)
            for square, kept, adding, most in zip(
                rendered.window.squares(self._crop), keep.cpu().numpy(), added, strength.tolist(), strict=True
            )
        ]

    def _pixels(self, places: Tensor) -> list[np.ndarray]:
        """Convert IMAGE coordinates (B, 2, s, s) of the crop to PIXELS, (s, s, 2) each."""
        corner = places.new_tensor([self._crop.left, self._crop.top])[:, None, None]
        pixels = (places + 1) * (self._crop.side / 2) + corner
        return list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _feather(size: int, like: Tensor) -> Tensor:
    """Return weights (1, 1, size, size): 1 inside a window, smoothly 0 at its border."""
    edge = smoothstep(1 - pixel_centers(size, like).abs(), 0.0, 2 * FEATHER)
    return (edge[:, None] * edge)[None, None]


__all__ = ["Compositor"]
