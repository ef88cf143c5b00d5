"""A student's maps: landmarks in; small maps of where everything comes from, and of what is painted, out.

They are what ``Compositor`` plans, but what is coarse stays coarse: :mod:`.picture`, or a browser, enlarges it while it draws.
Torch runs this module as it is, and other runtimes as an ONNX graph. Places are PIXELS of the student's picture, and a map's
channels lie beside each other, as in a texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.coordinates import MIN_CROP, STILL_GROWTH, STILL_SHIFT
from ...face_model.mesh_flow import identity_grid
from ...layers.compositing import FEATHER, STAGE
from ...layers.motion import FOLLOWING, HeadMotion, Window
from ...layers.outline import MARGIN, Outline
from ...layers.portrait import PortraitLayers
from ...utils.easing import smoothstep
from .modeling_student import SuperFaceStudentModel, changes_of, moved_by, near_person, painted_over
from .seam_windows import SeamWindow


class _Squares(NamedTuple):
    """Squares of the picture: ``corner`` (B, 2) and ``side`` (B,) in PIXELS, and the same as ``window`` of the crop."""

    corner: Tensor
    side: Tensor
    window: Window


class StudentMaps(nn.Module):
    """Landmarks (B, 478, 3) in IMAGE coordinates of the student's crop -> what :data:`.picture.MAPS` names.

    Args:
        student: one that stores a portrait, on its device.
        layers: those of its portrait.
    """

    def __init__(self, student: SuperFaceStudentModel, layers: PortraitLayers) -> None:
        super().__init__()
        self.student = student
        self._prepared = student.prepare()
        crop, own = student.crop, student.landmarks
        outline = Outline.of(layers, crop, own.cpu())
        self._head, self._torso = outline.head.to(own.device), outline.torso.to(own.device)
        self._size = own.new_tensor(layers.picture.shape[1::-1])
        self._corner = own.new_tensor([crop.left, crop.top])
        self._side = float(crop.side)
        self._low, self._high = own[:, :2].amin(0), own[:, :2].amax(0)
        self._growth = 1 / float((self._high - self._low).max())
        rows, columns = layers.box
        self._first, self._last = own.new_tensor([columns.start, rows.start]), own.new_tensor([columns.stop, rows.stop])

    def forward(self, landmarks: Tensor) -> tuple[Tensor, ...]:
        """Coordinates need all of float32, also where the networks compute in less."""
        prepared, prior, student = self._prepared, self._prepared.prior, self.student
        device, size = landmarks.device.type, student.config.image_size
        with torch.autocast(device, enabled=False):
            frame = self._following(landmarks)
            head = prior.head(landmarks, Window.same(landmarks))
            rect, cell, stage = self._stage(landmarks, head)
            layer, places, around = self._layers(landmarks, head, frame.window, stage.window)
            driving, source = frame.window.enter(landmarks), prior.entered(frame.window)
            flows = torch.stack((layer, *prior.beside(layer, source, driving)), dim=1)
        coarse = student.refined(prepared, flows, places, driving, frame.window)
        with torch.autocast(device, enabled=False):
            stage_flow = around * (stage.side / 2)[:, None, None, None]
            own = coarse.flow * (frame.side / 2)[:, None, None, None]
            blended = self._blended(own, stage_flow, frame.window, stage.window)
            moved = moved_by(prepared.appearance, coarse.flow, frame.window)
        brush = student.generator((moved * coarse.occlusion).to(coarse.features.dtype), coarse.features).float()
        changes = changes_of(brush, near_person(moved[:, -1:]))
        flow_and_rim = torch.cat((coarse.flow, blended - own), dim=1)
        corners, parts = [], []
        for index, painter in enumerate(student.painters):
            with torch.autocast(device, enabled=False):
                patch = SeamWindow.around(source, driving, index, size // 2)
                around, rim = _at(flow_and_rim, patch.grid).split(2, dim=1)
            finer, stroke = student.paint_window(painter, patch, prepared, coarse.code, around, frame.window)
            with torch.autocast(device, enabled=False):
                finer = finer * (frame.side / 2)[:, None, None, None] + rim
                corner = ((patch.grid[:, 0, 0] + 1) * (size / 4) - 0.5).round()
                drawn = painted_over(_enlarged_part(changes, corner / 2, stroke.shape[2:]), stroke)
                inside = _feather_at(patch.grid).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
                corners.append(corner)
                parts += [_beside(finer), *_painting(drawn, inside)]
        whole = _painting(changes, _feather_at(identity_grid(changes.shape[-1], changes)))
        squares = [
            torch.cat((square.corner, side[:, None]), dim=1) for square, side in ((frame, frame.side), (stage, cell))
        ]
        return (squares[0], rect, squares[1], _beside(stage_flow), _beside(blended), *whole,
                torch.stack(corners, dim=1), *parts)  # fmt: skip

    def _layers(
        self, landmarks: Tensor, head: HeadMotion, window: Window, stage: Window
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The layers' flow in the window and what belongs to skin and head there, and their flow on the stage."""
        prior, size = self._prepared.prior, self.student.config.image_size // 8
        if size != STAGE:
            layer, places = prior.layer(
                prior.entered(window), window.enter(landmarks), window, size, head.entered(window)
            )
            around = prior.layer(prior.entered(stage), stage.enter(landmarks), stage, STAGE, head.entered(stage))[0]
            return layer, places, around
        # One pass for both, as a graph's time is that of its nodes.
        both = Window(torch.cat((window.centre, stage.centre)), torch.cat((window.scale, stage.scale)))
        heads = HeadMotion(*(torch.cat((part, part)) for part in (
            head.turn, head.before, head.after, head.width, head.chin, head.down, head.turned)))  # fmt: skip
        driving = both.enter(landmarks.repeat(2, 1, 1))
        layer, places = prior.layer(prior.entered(both), driving, both, STAGE, heads.entered(both))
        first, last = slice(None, landmarks.shape[0]), slice(landmarks.shape[0], None)
        return layer[first], places[first], layer[last]

    def _following(self, landmarks: Tensor) -> _Squares:
        """As ``Square.following``: where the frames' windows lie."""
        new_low, new_high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
        growth = (new_high - new_low).amax(1) * self._growth
        growth = growth / growth.clamp(1 / STILL_GROWTH, STILL_GROWTH)
        side = (growth * self._side).round().clamp_min(MIN_CROP)
        middle = (new_low + new_high) / 2 - growth[:, None] * (self._low + self._high) / 2
        middle = middle - middle.clamp(-STILL_SHIFT, STILL_SHIFT)
        corner = (self._corner + (middle + 1) * (self._side / 2) - side[:, None] / 2).round()
        return self._squares(corner, side)

    def _squares(self, corner: Tensor, side: Tensor) -> _Squares:
        centre = (corner + side[:, None] / 2 - self._corner) * (2 / self._side) - 1
        return _Squares(corner, side, Window(centre, side / self._side))

    def _stage(self, landmarks: Tensor, head: HeadMotion) -> tuple[Tensor, Tensor, _Squares]:
        """As ``Outline.rects``: what of the picture may show the person (left, top, right, bottom), the side of the
        stage's cells in pixels, and the stage around it."""
        a, b = head.turn[:, 0, 0], head.turn[:, 0, 1]
        # What takes the source's plane to the driver's is the inverse of a turn and a growth.
        back = torch.stack((torch.stack((a, -b), -1), torch.stack((b, a), -1)), dim=1) / (a * a + b * b)[:, None, None]
        heads = (self._head[None] - head.before[:, None]) @ back.transpose(1, 2) + head.after[:, None]
        torsos = self._torso[None] + FOLLOWING * (head.after - head.before)[:, None]
        moved = torch.cat((heads, torsos, landmarks[..., :2]), dim=1)
        low, high = ((end(moved) + 1) * (self._side / 2) + self._corner for end in (_least, _most))
        first = (low.floor() - MARGIN).minimum(self._first).clamp_min(0)
        last = (high.ceil() + MARGIN).maximum(self._last).minimum(self._size)
        cell = ((last - first).amax(1) / (STAGE - 2)).ceil().clamp_min(1)
        return torch.cat((first, last), dim=1), cell, self._squares(first - cell[:, None], STAGE * cell)

    def _blended(self, flow: Tensor, stage: Tensor, window: Window, around: Window) -> Tensor:
        """The window's flow, which goes over into the stage's at its border."""
        grid = identity_grid(flow.shape[-1], flow)
        here = window.centre[:, None, None] + window.scale[:, None, None, None] * grid
        there = (here - around.centre[:, None, None]) / around.scale[:, None, None, None]
        return torch.lerp(_at(stage, there), flow, _feather_at(grid))


def _least(points: Tensor) -> Tensor:
    return points.amin(1)


def _most(points: Tensor) -> Tensor:
    return points.amax(1)


def _at(maps: Tensor, grid: Tensor) -> Tensor:
    """Maps (B, C, s, s), enlarged, at places (B, h, w, 2): (B, C, h, w)."""
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _enlarged_part(maps: Tensor, corner: Tensor, shape: Sequence[int]) -> Tensor:
    """A part of maps (B, C, s, s), four times as large and ``shape`` then; ``corner`` (B, 2) is its first cell. As a product of
    matrices, for sampling place by place takes most of a graph's time."""
    rows, columns = (side // 4 for side in shape)
    y, x = (
        (corner[:, axis : axis + 1] + torch.arange(-1, count + 1, device=maps.device))
        .clamp(0, maps.shape[-1] - 1)
        .long()
        for axis, count in ((1, rows), (0, columns))
    )
    cells = (y[:, :, None] * maps.shape[-1] + x[:, None]).flatten(1)
    part = maps.flatten(2).gather(2, cells[:, None].expand(-1, maps.shape[1], -1))
    part = part.reshape(-1, maps.shape[1], rows + 2, columns + 2)
    return _fourfold(rows, maps.device) @ part @ _fourfold(columns, maps.device).T


@lru_cache
@torch.inference_mode(False)  # cached, see seam_windows.feather
def _fourfold(count: int, device: torch.device) -> Tensor:
    """(4 count, count + 2): linear means of ``count`` cells and one more at each side, at four places in each cell."""
    place = (torch.arange(4 * count) + 0.5) / 4 + 0.5
    return (1 - (place[:, None] - torch.arange(count + 2)).abs()).clamp_min(0).to(device)


def _feather_at(grid: Tensor) -> Tensor:
    """(B, h, w, 2) -> (B, 1, h, w): 1 inside the window, smoothly to 0 at its border."""
    edges = smoothstep(1 - grid.abs(), 0.0, 2 * FEATHER)
    return (edges[..., 0] * edges[..., 1])[:, None]


def _painting(changes: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 5, h, w) and (B, 1, h, w) -> what is kept and painted (B, h, w, 4) and what the matte changes by (B, h, w, 1)."""
    kept = 1 + inside * (changes[:, :1] - 1)
    painted = inside * changes[:, 1:]
    return _beside(torch.cat((kept, painted[:, :3]), dim=1)), _beside(painted[:, 3:])


def _beside(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h, w, C)."""
    return maps.permute(0, 2, 3, 1).contiguous()
