"""How a person moves in front of the world, from two meshes alone: the backward flow of the layer that shows the person.

Nothing here is learned. The skin follows the mesh; hair and ears follow the head, whose silhouette keeps its shape; from the
chin down along the neck the head's motion goes over into the torso's, which follows by a part, and far below it rests.
Coordinates are those of the window in which the frame is made; the window itself may lie elsewhere in the source's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model import topology
from ..face_model.coordinates import Square
from ..face_model.mesh_flow import Spread, at_landmarks, identity_grid
from ..face_model.seams import seam_flow
from ..utils.easing import smoothstep

FOREHEAD, CHIN = 10, 152
# The skin follows the mesh up to this distance from it (widths of the face), and from the second one on the head alone.
SKIN, BEYOND_SKIN = 0.18, 0.90
# Where the neck begins and where the torso has taken over, below the chin (heights of the face); where it rests.
NECK, TORSO, REST = -0.05, 0.55, (1.2, 2.6)
# The torso follows the middle of the head by this part.
FOLLOWING = 0.3
# The middle of the head lies this far behind the face's rim, in widths of the face.
SKULL = 0.35
# A face is about this wide for its height: a turned one looks narrower than it is.
FACE_RATIO = 0.85
# Landmarks whose outward direction has less of the camera's than the first are hidden and count this little; from the second on
# they count fully.
SEEN, HIDDEN = (0.0, 0.20), 0.01
# Rounds in which the skin's flow comes nearer to the landmarks.
MESH_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """The rigid motion of the head between two meshes.

    Attributes:
        turn: (B, 2, 2) from the driver's plane to the source's: roll and size.
        before, after: (B, 2) the middle of the head in the source's and in the driver's plane.
        width: (B,) of the driver's face; ``chin`` (B, 2) where it ends; ``down`` (B, 2) from its forehead to its chin.
    """

    turn: Tensor
    before: Tensor
    after: Tensor
    width: Tensor
    chin: Tensor
    down: Tensor


@lru_cache(maxsize=1)
def skin_points() -> np.ndarray:
    """Points so dense that no place on a face is far from all of them."""
    inside = np.setdiff1d(np.arange(0, 468, 12), topology.FACE_OVAL)
    return np.concatenate([topology.FACE_OVAL, inside])


def head_motion(source: Tensor, driving: Tensor) -> HeadMotion:
    """Finds it from the points of the bone, in double precision: (B, 478, 3) twice."""
    stable = torch.as_tensor(topology.STABLE, device=source.device)
    a, b = source[:, stable].double(), driving[:, stable].double()
    middle_a, middle_b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    u, values, vt = torch.linalg.svd((b - middle_b).transpose(1, 2) @ (a - middle_a))
    flip = torch.ones_like(values)
    flip[:, 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * flip[:, None]) @ vt
    scale = (values * flip).sum(1) / (a - middle_a).square().sum((1, 2)).clamp_min(1e-12)
    centre = skull_centre(source)
    moved = scale[:, None] * (rotation @ (centre - middle_a[:, 0])[..., None])[..., 0] + middle_b[:, 0]
    roll = torch.atan2(rotation[:, 1, 0] - rotation[:, 0, 1], rotation[:, 0, 0] + rotation[:, 1, 1])
    cos, sin = roll.cos() / scale, roll.sin() / scale
    turn = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), dim=1)
    down = driving[:, CHIN, :2] - driving[:, FOREHEAD, :2]
    span = driving[..., :2].amax(1) - driving[..., :2].amin(1)
    return HeadMotion(turn.float(), centre[:, :2].float(), moved[:, :2].float(), span[:, 0], driving[:, CHIN, :2], down)


def skull_centre(points: Tensor) -> Tensor:
    """The middle of the head, behind the face along the direction in which it looks: (B, 478, 3) -> (B, 3) doubles."""
    width = points[..., 0].amax(1) - points[..., 0].amin(1)
    oval = points[:, torch.as_tensor(topology.FACE_OVAL, device=points.device)].double().mean(1)
    behind = torch.cat((torch.zeros_like(oval[:, :2]), -SKULL * width[:, None].double()), dim=1)
    return oval + (_facing(points) @ behind[..., None])[..., 0]


def _facing(points: Tensor) -> Tensor:
    """(B, 3, 3) whose last column points from the face toward the camera when it looks there."""
    right = (points[:, 454] - points[:, 234]).double()
    right = F.normalize(right, dim=-1)
    down = (points[:, CHIN] - points[:, FOREHEAD]).double()
    down = F.normalize(down - (down * right).sum(-1, keepdim=True) * right, dim=-1)
    return torch.stack((right, down, torch.linalg.cross(right, down)), dim=-1)


def layer_flow(
    source: Tensor, driving: Tensor, size: int, head: HeadMotion | None = None, carriers: np.ndarray | None = None
) -> Tensor:
    """The backward displacement of the person, (B, 2, size, size), in a window whose edges are -1 and 1.

    Args:
        source, driving: (B, 478, 3) landmarks in the window's coordinates.
        head: what :func:`head_motion` found, if it is known.
        carriers: indices of the landmarks that move the skin; all of them by default.
    """
    head = head or head_motion(source, driving)
    grid = identity_grid(size, driving)[0].permute(2, 0, 1)  # (2, size, size)
    away = grid[None] - head.after[:, :, None, None]
    hull = torch.einsum("bij,bjhw->bihw", head.turn, away) + head.before[:, :, None, None] - grid
    # The mesh adds to the head's motion: what is spread beyond it still turns with the head.
    face = hull
    points = slice(None) if carriers is None else torch.as_tensor(carriers, device=driving.device)
    carrying, wanted = driving[:, points], (source - driving)[:, points, :2]
    seen = visible(driving)[:, points]
    spread = Spread.of(carrying, size, seen)
    for _ in range(MESH_ROUNDS):
        face = face + spread(wanted - at_landmarks(face, carrying))
    moving = torch.lerp(hull, face, skin_weight(driving, head, size))
    on_head, below = head_weight(head, grid)
    torso = FOLLOWING * (head.before - head.after)[:, :, None, None] * (1 - smoothstep(below, *REST))
    return torch.lerp(torso, moving, on_head)


def visible(points: Tensor) -> Tensor:
    """How much each landmark (B, 478, 3) is on the side of the head that is seen: (B, 478).

    The far side of a turned face lies behind the near one, and would pull its skin the other way.
    """
    width = points[..., 0].amax(1) - points[..., 0].amin(1)
    oval = points[:, torch.as_tensor(topology.FACE_OVAL, device=points.device)].mean(1)
    span = torch.maximum(width, (points[:, CHIN] - points[:, FOREHEAD]).norm(dim=-1) * FACE_RATIO)
    middle = oval - SKULL * span[:, None] * _facing(points)[..., 2].to(points.dtype)
    outward = F.normalize(points - middle[:, None], dim=-1)[..., 2]
    return HIDDEN + (1 - HIDDEN) * smoothstep(outward, *SEEN)


class PersonMotion(Protocol):
    """How one known person moves; whoever knows the face beforehand may find it more cheaply than :class:`MeshMotion`."""

    def head(self, driving: Tensor, window: Window) -> HeadMotion:
        """The head's motion to meshes (B, 478, 3) in the windows."""
        ...

    def flow(self, driving: Tensor, window: Window, size: int) -> Tensor:
        """The person's backward displacement (B, 2, size, size) in the windows."""
        ...


@dataclass(frozen=True, eq=False)
class MeshMotion:
    """The motion of a person with landmarks (478, 3), by :func:`head_motion` and, coarsely, by :func:`layer_flow`."""

    landmarks: Tensor

    def head(self, driving: Tensor, window: Window) -> HeadMotion:
        return head_motion(self._entered(driving, window), driving)

    def flow(self, driving: Tensor, window: Window, size: int) -> Tensor:
        return layer_flow(self._entered(driving, window), driving, size, carriers=skin_points())

    def _entered(self, driving: Tensor, window: Window) -> Tensor:
        return window.enter(self.landmarks.to(driving.device).expand(driving.shape[0], -1, -1))


def skin_weight(driving: Tensor, head: HeadMotion, size: int) -> Tensor:
    """How much each place follows the mesh: (B, 1, size, size), 1 on the face."""
    points = driving[:, torch.as_tensor(skin_points(), device=driving.device), :2]
    cells = identity_grid(size, driving).flatten(1, 2).expand(driving.shape[0], -1, -1)
    distance = torch.cdist(cells, points, compute_mode="use_mm_for_euclid_dist").amin(-1) / head.width[:, None]
    return (1 - smoothstep(distance, SKIN, BEYOND_SKIN)).unflatten(1, (1, size, size))


def head_weight(head: HeadMotion, grid: Tensor) -> tuple[Tensor, Tensor]:
    """How much each place of ``grid`` (2, h, w) belongs to the head rather than to the torso, and how far below the chin it
    lies in heights of the face: (B, 1, h, w) each."""
    height = head.down.square().sum(-1).clamp_min(1e-6)
    away = grid[None] - head.chin[:, :, None, None]
    below = torch.einsum("bi,bihw->bhw", head.down, away)[:, None] / height[:, None, None, None]
    return 1 - smoothstep(below, NECK, TORSO), below


def beside_seams(flow: Tensor, layer: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Gives lids and lips their own flow, twice as fine: (B, 2, s, s) twice -> (B, 2, 2 s, 2 s).

    ``flow`` is the layer's flow ``layer`` plus what was learned. What was learned is kept, but not around the eyes.
    """
    layer_fine = F.interpolate(layer, scale_factor=2.0, mode="bilinear", align_corners=False)
    seams = seam_flow(source, driving, layer_fine.shape[-1])
    beside = torch.lerp(layer_fine, seams.flow, seams.weight)
    if flow is layer:
        return beside
    learned = F.interpolate(flow - layer, scale_factor=2.0, mode="bilinear", align_corners=False)
    return beside + (1 - seams.exact) * learned


@dataclass(frozen=True, eq=False)
class Window:
    """Where a frame's window lies in the source's: ``centre`` (B, 2) and ``scale`` (B,), in the source's coordinates."""

    centre: Tensor
    scale: Tensor

    @classmethod
    def same(cls, like: Tensor) -> Window:
        """The source's own window, for (B, ...)."""
        return cls(like.new_zeros(like.shape[0], 2), like.new_ones(like.shape[0]))

    @classmethod
    def following(cls, crop: Square, own: Tensor, driving: Tensor) -> Window:
        """For each driving face: where ``crop`` is, as long as it moves little, and then along with it, on whole pixels.

        (478, 3) and (B, 478, 3) landmarks in IMAGE coordinates of the crop.
        """
        rest, moved = own.float().cpu().numpy(), driving.float().cpu().numpy()
        return cls.of_squares(crop, [crop.following(rest, points) for points in moved], driving)

    @classmethod
    def of_squares(cls, crop: Square, squares: Sequence[Square], like: Tensor) -> Window:
        """Squares in the picture, as windows of the source whose own square is ``crop``."""
        sides = np.array([square.side for square in squares])
        corners = np.array([[square.left, square.top] for square in squares])
        middles = (corners + sides[:, None] / 2 - [crop.left, crop.top]) * (2 / crop.side) - 1
        return cls(
            torch.as_tensor(middles, dtype=torch.float32, device=like.device),
            torch.as_tensor(sides / crop.side, dtype=torch.float32, device=like.device),
        )

    def squares(self, crop: Square) -> list[Square]:
        """Where the windows lie in the picture, in whole pixels."""
        sides = [max(1, round(scale * crop.side)) for scale in self.scale.tolist()]
        middles = (self.centre.double().cpu().numpy() + 1) * (crop.side / 2) + [crop.left, crop.top]
        return [
            Square(round(float(x - side / 2)), round(float(y - side / 2)), side)
            for (x, y), side in zip(middles, sides, strict=True)
        ]

    def places(self, flow: Tensor) -> Tensor:
        """Where each cell of a displacement (B, 2, s, s) samples, in the source's coordinates: (B, 2, s, s)."""
        grid = identity_grid(flow.shape[-1], flow).permute(0, 3, 1, 2)
        return self.centre[:, :, None, None] + self.scale[:, None, None, None] * (grid + flow)

    def enter(self, points: Tensor) -> Tensor:
        """Points (B, N, 3) from the source's coordinates to the window's."""
        shifted = torch.cat((points[..., :2] - self.centre[:, None], points[..., 2:]), dim=-1)
        return shifted / self.scale[:, None, None]

    def leave(self, flow: Tensor) -> Tensor:
        """A displacement (B, 2, s, s) in the window -> what ``mesh_flow.warp`` takes: from each cell of the window to the
        place in the source that it samples, in the source's coordinates."""
        return self.places(flow) - identity_grid(flow.shape[-1], flow).permute(0, 3, 1, 2)


__all__ = [
    "HeadMotion",
    "MeshMotion",
    "PersonMotion",
    "Window",
    "beside_seams",
    "head_motion",
    "head_weight",
    "layer_flow",
    "skin_points",
    "skin_weight",
    "skull_centre",
]
