"""The motion that the meshes alone imply, computed cheaply: the student's dense motion network starts from it.

It computes the same as ``layers.motion``, but only for one face that is known in advance: with fewer landmarks, with kernels
of fixed widths, and without operations that exported graphs do not support.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...face_model import topology
from ...face_model.mesh_flow import (
    NARROWEST,
    WIDEST,
    Spread,
    at_landmarks,
    face_radius,
    identity_grid,
    neighbour_distance,
    rigid_flow,
    rigid_motion,
)
from ...layers.motion import (
    CHIN,
    FOREHEAD,
    HULL,
    SKULL,
    HeadMotion,
    Window,
    after_turn,
    displacement,
    head_centre,
    skin_weight,
    torso_motion,
)

# The depth of the rigid candidate flow, that of hair and ears, in radii of the face.
HAIR_DEPTH = -1.0
# Rounds of Newton's iteration toward the nearest rotation.
POLAR_ROUNDS = 6
# Rounds in which the remaining error at the landmarks is added to the skin's flow; the network corrects the rest.
ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Prior:
    """The known face, and what can be computed from it in advance.

    Attributes:
        landmarks: (1, 478, 3) the portrait's landmarks in image coordinates.
        chosen: (P,) indices of the landmarks that carry the flow.
        widths: (1, P) the widths of their kernels, in radii of the face.
        stable: (1, N, 3) the stable points, relative to their middle.
        middle: (1, 1, 3) that middle.
        centres: (2, 3) the middles of the head, the nearer one first, relative to it.
        bone: indices of the stable points.
    """

    landmarks: Tensor
    chosen: Tensor
    widths: Tensor
    stable: Tensor
    middle: Tensor
    centres: Tensor
    bone: Tensor

    @classmethod
    def of(cls, landmarks: Tensor, chosen: Tensor) -> Prior:
        """Make the prior from ``landmarks`` (1, 478, 3) and the indices (P,) of those that carry the flow."""
        radius = face_radius(landmarks)[:, None]
        widths = neighbour_distance(landmarks[:, chosen]) / radius
        bone = torch.as_tensor(topology.STABLE, device=landmarks.device)
        stable = landmarks[:, bone]
        middle = stable.mean(1, keepdim=True)
        centres = torch.cat([head_centre(landmarks, depth).float() - middle[:, 0] for depth in (SKULL, HULL)])
        return cls(landmarks, chosen, widths.clamp(NARROWEST, WIDEST), stable - middle, middle, centres, bone)

    def candidates(self, driving: Tensor, window: Window, size: int) -> tuple[Tensor, Tensor]:
        """Return candidate backward flows of the person in the frames' windows (B, 3, 2, size, size): the layers' flow,
        the rigid head, and rest. Also return how much each position belongs to skin and head (B, 2, size, size).

        ``driving`` is (B, 478, 3) float32 in the windows.
        """
        source = self.entered(window)
        layer, places = self.layer(source, driving, window, size)
        return torch.stack((layer, *self.beside(layer, source, driving)), dim=1), places

    def beside(self, layer: Tensor, source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        """The flows of the rigid head and of rest, of the layers' size; meshes (B, 478, 3) in the windows."""
        radius = face_radius(driving)[:, None]
        depth = driving[..., 2].mean(1, keepdim=True) + HAIR_DEPTH * radius
        rigid = rigid_flow(rigid_motion(source, driving)[:, :2], depth, layer.shape[-1])[:, 0]
        return rigid, torch.zeros_like(layer)

    def entered(self, window: Window) -> Tensor:
        """The face at rest in the windows, (B, 478, 3)."""
        return window.enter(self.landmarks.expand(window.scale.shape[0], -1, -1))

    def flow(self, driving: Tensor, window: Window, size: int) -> Tensor:
        """As ``layers.motion.layer_flow``, from this face to meshes (B, 478, 3) in the windows: (B, 2, size, size)."""
        return self.layer(self.entered(window), driving, window, size)[0]

    def layer(
        self, source: Tensor, driving: Tensor, window: Window, size: int, head: HeadMotion | None = None
    ) -> tuple[Tensor, Tensor]:
        """The layers' flow, and how much each place belongs to skin and head, both (B, 2, size, size); meshes, and the head's
        motion if it is known, in the windows."""
        head = head or self.head(driving, window)
        grid = identity_grid(size, driving)[0].permute(2, 0, 1)
        away = grid[None] - head.after[:, :, None, None]
        hull = torch.einsum("bij,bjhw->bihw", head.turn, away) + head.before[:, :, None, None] - grid
        on_face = self._skin_flow(F.avg_pool2d(hull, 2), source, driving)
        face = hull + _twice(on_face)
        skin = _twice(skin_weight(driving, head, size // 2, -on_face))
        torso, on_head = torso_motion(head, displacement(source, driving), grid)
        layer = torch.lerp(torso, torch.lerp(hull, face, skin), on_head)
        return layer, torch.cat((skin, on_head), dim=1)

    def head(self, driving: Tensor, window: Window) -> HeadMotion:
        """Return the motion of ``layers.motion.head_motion``, from this face to meshes (B, 478, 3) in the windows."""
        moved = driving[:, self.bone]
        middle = moved.mean(1, keepdim=True)
        covariance = (moved - middle).transpose(1, 2) @ self.stable.expand(driving.shape[0], -1, -1)
        rotation = nearest_rotation(covariance)
        scale = (rotation * covariance).sum((1, 2)) / self.stable.square().sum().clamp_min(1e-12)
        after = scale[:, None, None] * (self.centres @ rotation.transpose(1, 2)) + middle
        before = window.enter((self.middle + self.centres).expand(driving.shape[0], -1, -1))
        sine, cosine = rotation[:, 1, 0] - rotation[:, 0, 1], rotation[:, 0, 0] + rotation[:, 1, 1]
        # The face in the window is larger than in its own coordinates by 1 / window.scale.
        size = (sine.square() + cosine.square()).sqrt().clamp_min(1e-12) * scale * window.scale
        cosine, sine = cosine / size, sine / size
        turn = torch.stack((torch.stack((cosine, sine), -1), torch.stack((-sine, cosine), -1)), dim=1)
        width = driving[..., 0].amax(1) - driving[..., 0].amin(1)
        chin = driving[:, CHIN, :2]
        down = chin - driving[:, FOREHEAD, :2]
        near, far = ((before[:, each, :2], after[:, each, :2]) for each in (0, 1))
        carried = after_turn(turn, near, far, down)
        return HeadMotion(turn, near[0], carried, width, chin, down, rotation[:, 0, 2].abs())

    def _skin_flow(self, hull: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        """Return the flow that the chosen landmarks add to that of the head, both (B, 2, size, size)."""
        points = driving[:, self.chosen]
        radius = face_radius(driving)[:, None]
        spread = Spread(points, self.widths * radius, radius, hull.shape[-1])
        wanted = (source[:, self.chosen] - points)[..., :2]
        flow = hull
        for _ in range(ROUNDS):
            flow = flow + spread(wanted - at_landmarks(flow, points))
        return flow - hull


# Of each cofactor of a matrix, read row by row: the places of its four factors.
_COFACTORS = tuple(
    torch.arange(9).reshape(3, 3).roll(shifts, (0, 1)).flatten() for shifts in ((-1, -1), (1, 1), (-1, 1), (1, -1))
)


def _twice(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Return the rotation nearest to each of (B, 3, 3), by Newton's iteration (Higham 1986), as exported graphs have no
    singular values.

    The determinants must be positive, as they are between two meshes of a face.
    """
    x = matrix / matrix.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    for _ in range(POLAR_ROUNDS):
        # One index is one node of a graph; rolling would be twelve.
        a, b, c, d = (x.flatten(1).index_select(1, each.to(x.device)) for each in _COFACTORS)
        cofactors = (a * b - c * d).reshape(-1, 3, 3)
        determinant = (x[:, :1] * cofactors[:, :1]).sum(2, keepdim=True).clamp_min(1e-9)
        inverse = cofactors / determinant  # transposed
        growth = (inverse.square().sum((1, 2), keepdim=True) / x.square().sum((1, 2), keepdim=True)).sqrt().sqrt()
        x = 0.5 * (growth * x + inverse / growth)
    return x


def spread_out(points: Tensor, count: int) -> Tensor:
    """Return the indices (count,) of points (478, 2) that are far from each other, without the irises (farthest point
    sampling)."""
    distance = torch.full((topology.POINTS,), torch.inf, device=points.device)
    distance[torch.as_tensor([*topology.LEFT_IRIS, *topology.RIGHT_IRIS], device=points.device)] = -1.0
    chosen = [0]
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=-1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(sorted(chosen), device=points.device)
