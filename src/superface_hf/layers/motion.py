"""Compute how a person moves in front of the background, from two meshes alone: the backward flow of the person's layer.

Nothing here is learned. The skin follows the mesh, and hair the rigid head, whose silhouette keeps its shape; around the face
one becomes the other, gradually, but at once where a cheek turns away and covers its ear. From the chin down along the neck the
head's motion blends into the torso's, which follows the head by a share; far below nothing moves. Coordinates are those of the
window in which the frame is made; the window may lie elsewhere in the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..face_model import topology
from ..face_model.coordinates import Square
from ..face_model.mesh_flow import Spread, at_landmarks, identity_grid
from ..face_model.rigid import RigidMotion
from ..face_model.seams import seam_flow
from ..utils.easing import smoothstep

FOREHEAD, CHIN = 10, 152
# Up to the first distance beyond the face's outline (widths of the face) a place follows the mesh; from the second on, the
# head alone. The first pair is for a head that only nods and talks, the second for one that turns; by the sine of its turn,
# from the first of TURNED to the second, one becomes the other. TURNING, COVERED, COVERED_REACH and HULL were fitted to
# frames of training clips that are turned by 14 to 35 degrees; TURNED to validation clips, so that still heads lose nothing.
STILL, TURNING, TURNED = (0.18, 0.90), (0.0, 0.70), (0.01, 0.07)
# A cheek that turns away covers the ear behind it. There these distances shrink: by 1 / e for each COVERED (widths of the
# face) that the cheek moves farther outwards than the head's outline, down to the share COVERED_REACH.
COVERED, COVERED_REACH = 0.04, 0.08
# The face's outline is described by its extent in so many directions.
DIRECTIONS = 24
# Where the head ends and how the torso follows it. Fitted to training clips (benchmarks/torso.py), but not FOLLOWING, of which
# the fit finds 0.7, and 0.5 is nearer to the truth on validation clips:
#   NECK, TORSO: heights below the chin (heights of the face) where the neck begins, and where the torso's motion is complete;
#   SLANT, BESIDE: a place farther than BESIDE from the axis of the face counts as lower, by this share of the rest. Shoulders
#   belong to the torso also where they are as high as the chin;
#   FOLLOWING: the torso follows the middle of the head by this share.
NECK, TORSO, SLANT, BESIDE, FOLLOWING = -0.17, 0.36, 0.70, 0.08, 0.5
# Where a face goes far (its displacement, in heights of the face), hair and jaw would be left behind beside the neck: then the
# torso begins below the chin.
FAR = (0.06, 0.2)
FAR_NECK, FAR_TORSO = -0.05, 0.55
# Where the torso's motion fades out.
REST = (1.2, 2.6)
# The middle of the head lies this far behind the face's rim, in widths of the face. For what moves sideways it is the second:
# of a head that turns, more hair appears behind the near ear than the skull alone would show.
SKULL, HULL = 0.35, 0.70
# The usual width of a face over its height. A turned face looks narrower.
FACE_RATIO = 0.85
# Landmarks whose outward direction has a smaller part toward the camera than the first number are hidden, and have the weight
# HIDDEN; from the second number on they have the weight 1.
SEEN, HIDDEN = (0.0, 0.20), 0.01
# Rounds in which the remaining error at the landmarks is added to the skin's flow.
MESH_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """The rigid motion of the head between two meshes.

    Attributes:
        turn: (B, 2, 2) from the driver's plane to the source's: roll and size.
        before, after: (B, 2) the middle of the head in the source's and in the driver's plane.
        width: (B,) the width of the driver's face.
        chin: (B, 2) its chin.
        down: (B, 2) the vector from its forehead to its chin.
        turned: (B,) the sine of its turn to a side, without a sign.
    """

    turn: Tensor
    before: Tensor
    after: Tensor
    width: Tensor
    chin: Tensor
    down: Tensor
    turned: Tensor

    def entered(self, window: Window) -> HeadMotion:
        """Return the same motion in the coordinates of windows."""
        before, after, chin = (
            (place - window.centre) / window.scale[:, None] for place in (self.before, self.after, self.chin)
        )
        down = self.down / window.scale[:, None]
        return HeadMotion(self.turn, before, after, self.width / window.scale, chin, down, self.turned)


@lru_cache(maxsize=1)
def skin_points() -> np.ndarray:
    """Return few landmarks near all others, the rim of the face among them: they carry its skin well enough."""
    inside = np.setdiff1d(np.arange(0, 468, 12), topology.FACE_OVAL)
    return np.concatenate([topology.FACE_OVAL, inside])


def head_motion(source: Tensor, driving: Tensor) -> HeadMotion:
    """Fit the rigid motion of the head between two meshes (B, 478, 3), from the stable points, in double precision."""
    rigid = RigidMotion.between(source, driving)
    rotation, scale = rigid.rotation, rigid.scale
    roll = torch.atan2(rotation[:, 1, 0] - rotation[:, 0, 1], rotation[:, 0, 0] + rotation[:, 1, 1])
    cos, sin = roll.cos() / scale, roll.sin() / scale
    turn = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), dim=1)
    down = driving[:, CHIN, :2] - driving[:, FOREHEAD, :2]
    before, far_before = (head_centre(source, depth) for depth in (SKULL, HULL))
    after, far_after = (rigid(centre[:, None])[:, 0, :2] for centre in (before, far_before))
    after = after_turn(turn, (before[:, :2], after), (far_before[:, :2], far_after), down.double())
    span = driving[..., :2].amax(1) - driving[..., :2].amin(1)
    turned = rotation[:, 0, 2].abs().float()
    return HeadMotion(
        turn.float(), before[:, :2].float(), after.float(), span[:, 0], driving[:, CHIN, :2], down, turned
    )


def after_turn(turn: Tensor, near: tuple[Tensor, Tensor], far: tuple[Tensor, Tensor], down: Tensor) -> Tensor:
    """Return the place (B, 2) to which the nearer of two middles of the head goes: sideways, as if it were the farther one.

    Args:
        turn: (B, 2, 2) from the driver's plane to the source's.
        near, far: for each middle its places (B, 2) before and after.
        down: (B, 2) from the driver's forehead to its chin.
    """
    apart = near[0] - far[0]
    cos, sin = turn[:, 0, 0], turn[:, 0, 1]
    turned_back = torch.stack((cos * apart[:, 0] - sin * apart[:, 1], sin * apart[:, 0] + cos * apart[:, 1]), dim=-1)
    carried = far[1] + turned_back / (cos.square() + sin.square())[:, None]
    sideways = _sideways(down)
    return near[1] + sideways * (sideways * (carried - near[1])).sum(-1, keepdim=True)


def _sideways(down: Tensor) -> Tensor:
    """Return the unit vectors across (B, 2)."""
    return F.normalize(torch.stack((down[:, 1], -down[:, 0]), dim=-1), dim=-1)


def head_centre(points: Tensor, depth: float) -> Tensor:
    """Return the middle of the head (B, 3), float64, ``depth`` widths behind the face (B, 478, 3) along its view."""
    width = points[..., 0].amax(1) - points[..., 0].amin(1)
    oval = points[:, torch.as_tensor(topology.FACE_OVAL, device=points.device)].double().mean(1)
    behind = torch.cat((torch.zeros_like(oval[:, :2]), -depth * width[:, None].double()), dim=1)
    return oval + (_facing(points) @ behind[..., None])[..., 0]


def _facing(points: Tensor) -> Tensor:
    """Return rotations (B, 3, 3), whose last column points from the face toward the camera when it looks there."""
    right = (points[:, 454] - points[:, 234]).double()
    right = F.normalize(right, dim=-1)
    down = (points[:, CHIN] - points[:, FOREHEAD]).double()
    down = F.normalize(down - (down * right).sum(-1, keepdim=True) * right, dim=-1)
    return torch.stack((right, down, torch.linalg.cross(right, down)), dim=-1)


def layer_flow(
    source: Tensor, driving: Tensor, size: int, head: HeadMotion | None = None, carriers: np.ndarray | None = None
) -> Tensor:
    """Return the backward displacement of the person, (B, 2, size, size), in a window whose edges are -1 and 1.

    Args:
        source, driving: (B, 478, 3) landmarks in the window's coordinates.
        head: the result of :func:`head_motion`, if it is known.
        carriers: indices of the landmarks that move the skin; all of them by default.
    """
    head = head or head_motion(source, driving)
    grid = identity_grid(size, driving)[0].permute(2, 0, 1)  # (2, size, size)
    away = grid[None] - head.after[:, :, None, None]
    hull = torch.einsum("bij,bjhw->bihw", head.turn, away) + head.before[:, :, None, None] - grid
    # The mesh's motion is added to the head's, so that its continuation beyond the mesh still turns with the head.
    face = hull
    points = slice(None) if carriers is None else torch.as_tensor(carriers, device=driving.device)
    carrying, wanted = driving[:, points], (source - driving)[:, points, :2]
    seen = visible(driving)[:, points]
    spread = Spread.of(carrying, size, seen)
    for _ in range(MESH_ROUNDS):
        face = face + spread(wanted - at_landmarks(face, carrying))
    skin = skin_weight(driving, head, size, hull - face)
    torso, on_head = torso_motion(head, displacement(source, driving), grid)
    return torch.lerp(torso, torch.lerp(hull, face, skin), on_head)


def visible(points: Tensor) -> Tensor:
    """Return the visibility (B, 478) of each landmark (B, 478, 3): how much it is on the near side of the head.

    The far side of a turned face lies behind the near one, and would pull its skin the other way.
    """
    width = points[..., 0].amax(1) - points[..., 0].amin(1)
    oval = points[:, torch.as_tensor(topology.FACE_OVAL, device=points.device)].mean(1)
    span = torch.maximum(width, (points[:, CHIN] - points[:, FOREHEAD]).norm(dim=-1) * FACE_RATIO)
    middle = oval - SKULL * span[:, None] * _facing(points)[..., 2].to(points.dtype)
    outward = F.normalize(points - middle[:, None], dim=-1)[..., 2]
    return HIDDEN + (1 - HIDDEN) * smoothstep(outward, *SEEN)


@dataclass(frozen=True, eq=False)
class MeshMotion:
    """The motion of a person with landmarks (478, 3), by :func:`head_motion` and :func:`layer_flow` with few landmarks."""

    landmarks: Tensor

    def head(self, driving: Tensor, window: Window) -> HeadMotion:
        return head_motion(self._entered(driving, window), driving)

    def flow(self, driving: Tensor, window: Window, size: int) -> Tensor:
        return layer_flow(self._entered(driving, window), driving, size, carriers=skin_points())

    def _entered(self, driving: Tensor, window: Window) -> Tensor:
        return window.enter(self.landmarks.to(driving.device).expand(driving.shape[0], -1, -1))


def skin_weight(driving: Tensor, head: HeadMotion, size: int, apart: Tensor | None = None) -> Tensor:
    """Return how much each cell follows the mesh: (B, 1, size, size), 1 on the face.

    Args:
        apart: (B, 2, size, size) the head's backward displacement less the mesh's. With it, the far side of a turned face
            ends at its outline, and covers the ear.
    """
    points = driving[..., :2]
    grid = identity_grid(size, driving)[0].permute(2, 0, 1)
    distance = beyond_outline(points, grid) / head.width[:, None, None, None]
    if apart is not None:
        distance = distance / _reach(points, head, grid, apart)
    share = smoothstep(head.turned, *TURNED)[:, None, None, None]
    start, end = (still + share * (turning - still) for still, turning in zip(STILL, TURNING, strict=True))
    return 1 - smoothstep((distance - start) / (end - start))


def beyond_outline(points: Tensor, grid: Tensor) -> Tensor:
    """Return the distance of ``grid`` (2, h, w) from the convex outline of points (B, N, 2): (B, 1, h, w), 0 inside."""
    angle = torch.arange(DIRECTIONS, device=points.device, dtype=points.dtype) * (2 * torch.pi / DIRECTIONS)
    directions = torch.stack((angle.cos(), angle.sin()), dim=-1)
    extent = (points @ directions.T).amax(1)
    along = (directions[:, :, None, None] * grid).sum(1)
    return (along - extent[:, :, None, None]).amax(1, keepdim=True).clamp_min(0)


def _reach(points: Tensor, head: HeadMotion, grid: Tensor, apart: Tensor) -> Tensor:
    """Return how far beyond the outline the skin reaches, as a share: (B, 1, h, w), less where a cheek turns away."""
    sideways = _sideways(head.down)[:, :, None, None]
    away = grid - points.mean(1)[:, :, None, None]
    lateral = (sideways * away).sum(1, keepdim=True) / away.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6)
    covered = (sideways * apart).sum(1, keepdim=True) * lateral * lateral.abs() / head.width[:, None, None, None]
    return COVERED_REACH + (1 - COVERED_REACH) * torch.exp(-covered.clamp_min(0) / COVERED)


def displacement(source: Tensor, driving: Tensor) -> Tensor:
    """Return how far the upper face moves in the plane between two meshes (B, 478, 3), on average: (B,)."""
    stable = torch.as_tensor(topology.STABLE, device=source.device)
    return (source - driving)[:, stable, :2].norm(dim=-1).mean(1)


def torso_motion(head: HeadMotion, moved: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the backward displacement of the torso (B, 2, h, w), and how much each position of ``grid`` (2, h, w)
    belongs to the head rather than to the torso (B, 1, h, w); ``moved`` is the face's :func:`displacement`."""
    height = head.down.square().sum(-1).clamp_min(1e-6)
    across = torch.stack((-head.down[:, 1], head.down[:, 0]), dim=-1)
    axes = torch.stack((head.down, across), dim=1) / height[:, None, None]
    below, aside = torch.einsum("bij,bjhw->bihw", axes, grid[None] - head.chin[:, :, None, None]).split(1, dim=1)
    far = smoothstep(moved / height.sqrt(), *FAR)[:, None, None, None]
    lower = below + (1 - far) * SLANT * (aside.abs() - BESIDE).clamp_min(0)
    neck, end = NECK + far * (FAR_NECK - NECK), TORSO + far * (FAR_TORSO - TORSO)
    part = ((lower - neck) / (end - neck)).clamp(0, 1)
    torso = FOLLOWING * (head.before - head.after)[:, :, None, None] * (1 - smoothstep(below, *REST))
    return torso, 1 - smoothstep(part)


def beside_seams(flow: Tensor, layer: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Replace the flow at lids and lips by their own, and double the resolution: (B, 2, s, s) twice -> (B, 2, 2 s, 2 s).

    ``flow`` is the layer's flow ``layer`` plus a learned correction. The correction is kept, except around the eyes.
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
    """The window of a frame in the source's coordinates: ``centre`` (B, 2) and ``scale`` (B,)."""

    centre: Tensor
    scale: Tensor

    @classmethod
    def same(cls, like: Tensor) -> Window:
        """Return the source's own window, for (B, ...)."""
        return cls(like.new_zeros(like.shape[0], 2), like.new_ones(like.shape[0]))

    @classmethod
    def following(cls, crop: Square, own: Tensor, driving: Tensor) -> Window:
        """Return a window for each driving face, on whole pixels: that of ``crop`` while the face moves little, and
        else moved along.

        Args:
            crop: the source's own square.
            own, driving: (478, 3) and (B, 478, 3) landmarks in IMAGE coordinates of the crop.
        """
        rest, moved = own.float().cpu().numpy(), driving.float().cpu().numpy()
        return cls.of_squares(crop, [crop.following(rest, points) for points in moved], driving)

    @classmethod
    def of_squares(cls, crop: Square, squares: Sequence[Square], like: Tensor) -> Window:
        """Return windows for squares in the picture; the source's own square is ``crop``."""
        sides = np.array([square.side for square in squares])
        corners = np.array([[square.left, square.top] for square in squares])
        middles = (corners + sides[:, None] / 2 - [crop.left, crop.top]) * (2 / crop.side) - 1
        return cls(
            torch.as_tensor(middles, dtype=torch.float32, device=like.device),
            torch.as_tensor(sides / crop.side, dtype=torch.float32, device=like.device),
        )

    def squares(self, crop: Square) -> list[Square]:
        """Return the windows' squares in the picture, in whole pixels."""
        sides = [max(1, round(scale * crop.side)) for scale in self.scale.tolist()]
        middles = (self.centre.double().cpu().numpy() + 1) * (crop.side / 2) + [crop.left, crop.top]
        return [
            Square(round(float(x - side / 2)), round(float(y - side / 2)), side)
            for (x, y), side in zip(middles, sides, strict=True)
        ]

    def places(self, flow: Tensor) -> Tensor:
        """Return the positions (B, 2, s, s) that a displacement (B, 2, s, s) samples, in the source's coordinates."""
        grid = identity_grid(flow.shape[-1], flow).permute(0, 3, 1, 2)
        return self.centre[:, :, None, None] + self.scale[:, None, None, None] * (grid + flow)

    def enter(self, points: Tensor) -> Tensor:
        """Convert points (B, N, 3) from the source's coordinates to the window's."""
        shifted = torch.cat((points[..., :2] - self.centre[:, None], points[..., 2:]), dim=-1)
        return shifted / self.scale[:, None, None]

    def leave(self, flow: Tensor) -> Tensor:
        """Convert a displacement (B, 2, s, s) in the window to that of ``mesh_flow.warp``: from each cell of the window
        to the position in the source that it samples, in the source's coordinates."""
        return self.places(flow) - identity_grid(flow.shape[-1], flow).permute(0, 3, 1, 2)


__all__ = [
    "HeadMotion",
    "MeshMotion",
    "Window",
    "after_turn",
    "beside_seams",
    "displacement",
    "head_centre",
    "head_motion",
    "layer_flow",
    "skin_points",
    "skin_weight",
    "torso_motion",
]
