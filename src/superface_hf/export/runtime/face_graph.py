"""From a speaking driver's motion to the landmarks of a student's face, as a graph.

What :class:`~superface_hf.animation.retargeting.Retargeter` and :meth:`FaceModel.animate` do for motion that begins at rest, as
speech and idle motion do: one row of numbers a frame in, 478 points out. All that depends on the face is folded into constants.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...animation.drawn_eyes import DrawnLids
from ...animation.mouth_swap import SHUT
from ...animation.portrait import Portrait
from ...animation.portrait_mouth import PortraitMouth
from ...animation.retargeting import MAX_GROWTH, MIN_GROWTH, awake, shown
from ...face_model import topology
from ...face_model.emphasis import SHUTTING, blink_scores, lid_emphasis
from ...face_model.linear import TURN_LIMIT, FaceModel, FaceShape, lid_gap
from ...face_model.topology import POINTS
from ...motion.rows import row_layout
from ...utils.easing import smoothstep

TINY = 1e-12


class FaceGraph(nn.Module):
    """Rows (B, 66) of :mod:`superface_hf.motion.rows` -> landmarks (B, 478, 3) in IMAGE coordinates of the portrait's crop.

    Head, eyes, brows and gaze are changes from rest; the mouth is absolute. Drawn eyes shut as
    :func:`~superface_hf.animation.drawn_eyes.move_drawn_eyes` shuts them.
    """

    own_turn: Tensor
    own_translation: Tensor
    own_eyes: Tensor
    own_brows: Tensor
    own_gaze: Tensor
    own_lids: Tensor
    own_correction: Tensor
    own_opens: Tensor
    own_opener: Tensor
    own_points: Tensor
    own_basis: Tensor
    own_gaps: Tensor

    def __init__(self, portrait: Portrait, face_model: FaceModel) -> None:
        super().__init__()
        own, spoken = awake(portrait, face_model), PortraitMouth(portrait.shape, portrait.motion.mouth[0], face_model)
        self._layout, self._spoken = row_layout(), spoken
        self._scale = float(own.scale[0])
        moving, shape = shown(portrait, face_model)
        self._lids = DrawnLids.of(shape) if portrait.drawn_eyes else ()
        constants = {
            "turn": _quaternion_product(own.rotation[0]),
            "translation": own.translation,
            "eyes": own.eyes,
            "brows": own.brows,
            "gaze": own.gaze,
            "lids": blink_scores(),
            "correction": spoken.correction,
            "opens": spoken.opens[:, None],
            "opener": spoken.opener,
            "points": shape.points.numpy().reshape(1, -1),
            "basis": _folded(shape, moving),
            "gaps": np.stack(
                [_opening(lids, face_model) for lids in (topology.LEFT_LIDS, topology.RIGHT_LIDS)], axis=1
            ),
        }
        for name, value in constants.items():
            self.register_buffer(f"own_{name}", torch.tensor(np.array(value, np.float32)))

    def forward(self, motion: Tensor) -> Tensor:
        part = {name: motion[:, first:last] for name, (first, last) in self._layout.items()}
        shut = smoothstep(part["eyes"] @ self.own_lids, SHUTTING, 1.0)
        meant = self.own_eyes + part["eyes"] - shut * self.own_eyes
        meant = meant * lid_emphasis(smoothstep(meant @ self.own_lids, SHUTTING, 1.0))
        eyes = torch.zeros_like(meant) if self._lids else meant
        quaternion = self._turned(part["rotation"])
        vector = _vector(quaternion).clamp(-TURN_LIMIT, TURN_LIMIT)
        features = torch.cat((vector, vector * vector, vector * vector[:, [2, 0, 1]]), dim=1)
        brows, gaze = self.own_brows + part["brows"], self.own_gaze + part["gaze"]
        coefficients = torch.cat((features, self._mouth(part["mouth"]), eyes, brows, gaze), dim=1)
        canonical = (self.own_points + coefficients @ self.own_basis).reshape(-1, POINTS, 3)
        scale = self._scale * part["scale"].clamp(MIN_GROWTH, MAX_GROWTH)
        shift = torch.nn.functional.pad(self.own_translation + self._scale * part["translation"], (0, 1))
        points = scale[:, :, None] * (canonical @ _matrix(quaternion).transpose(1, 2)) + shift[:, None]
        for eye, opening in zip(self._lids, (1 + meant @ self.own_gaps).unbind(1), strict=False):
            points = points + self._shut(points, eye, opening)
        return points

    def _shut(self, points: Tensor, eye: DrawnLids, opening: Tensor) -> Tensor:
        """What a drawn eye that is open by (B,) adds to the landmarks (B, 478, 3)."""
        gap = points[:, eye.lower, :2] - points[:, eye.upper, :2]
        moves = torch.from_numpy(eye.moves).float() @ gap
        return torch.nn.functional.pad(eye.shutting(opening)[:, None, None] * moves, (0, 1))

    def _turned(self, vector: Tensor) -> Tensor:
        """The quaternion (B, 4), real part first, of the portrait's own turn followed by ``vector`` (B, 3) in its frame."""
        half = (vector.square().sum(1, keepdim=True) + TINY).sqrt() / 2
        turn = torch.cat((half.cos(), vector * (half.sin() / (2 * half))), dim=1)
        return turn @ self.own_turn

    def _mouth(self, mouth: Tensor) -> Tensor:
        """As :class:`PortraitMouth` gives it, with :func:`~superface_hf.animation.mouth_swap.meant_gap`."""
        gap, touching = self._spoken.gap + mouth @ self.own_opens, self._spoken.touching
        meant = touching + (gap / SHUT - 1).clamp_min(0) * (2 * SHUT - touching)
        change = torch.where(gap >= 2 * SHUT, gap, meant) - gap
        return mouth + self.own_correction + change * self.own_opener


def _folded(shape: FaceShape, face_model: FaceModel) -> np.ndarray:
    """(9 + M, 1434): what turn features and coefficients add to this neutral face, whose eyes open in their own way."""
    bases = {region: basis.flatten(1).double().numpy() for region, basis in face_model.bases.items()}
    half = len(bases["eyes"]) // 2
    openings = np.repeat(face_model.openings(shape), half)[:, None]
    turn = face_model.turn_basis.flatten(1).double().numpy()
    return np.concatenate([turn, bases["mouth"], openings * bases["eyes"], bases["brows"], bases["gaze"]])


def _opening(lids: tuple[tuple[int, int], ...], face_model: FaceModel) -> np.ndarray:
    """(E,): by how much each coefficient of the eyes opens one of the mean face's, in parts of its usual gap."""
    return lid_gap(face_model.bases["eyes"].double().numpy(), lids) / lid_gap(
        face_model.mean[None].double().numpy(), lids
    )


def _quaternion_product(vector: np.ndarray) -> np.ndarray:
    """(4, 4) that takes a quaternion (as a row) to the product of this rotation (3,) with it."""
    angle = float(np.linalg.norm(vector))
    x, y, z = np.sinc(angle / (2 * np.pi)) / 2 * np.asarray(vector, np.float64)
    w = np.cos(angle / 2)
    return np.array([[w, x, y, z], [-x, w, z, -y], [-y, -z, w, x], [-z, y, -x, w]])


def _vector(quaternion: Tensor) -> Tensor:
    """Unit quaternions (B, 4) of less than half a turn -> rotation vectors (B, 3)."""
    imaginary = quaternion[:, 1:]
    length = (imaginary.square().sum(1, keepdim=True) + TINY).sqrt()
    return imaginary * (2 * torch.atan(length / quaternion[:, :1]) / length)


def _matrix(quaternion: Tensor) -> Tensor:
    """(B, 4) -> (B, 3, 3)."""
    products = quaternion[:, :, None] * quaternion[:, None]
    flat = products.flatten(1) @ _PRODUCTS.to(quaternion)
    return (flat + torch.eye(3).reshape(1, 9)).reshape(-1, 3, 3)


def _product_table() -> Tensor:
    """(16, 9): a rotation matrix less the identity, row by row, from the products of its quaternion's parts."""
    table = torch.zeros(4, 4, 3, 3)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        table[1 + j, 1 + j, i, i] = table[1 + k, 1 + k, i, i] = -2
        table[1 + i, 1 + j, i, j] = table[1 + i, 1 + j, j, i] = 2
        table[0, 1 + k, j, i] = 2
        table[0, 1 + k, i, j] = -2
    return table.reshape(16, 9)


_PRODUCTS = _product_table()
