"""The 3D dense motion network, 3D DMN: predicts where each position of the person and of the volume comes from
(SuperFace, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import face_radius, identity_grid, mesh_flow, rigid_flow, rigid_motion, warp
from ...face_model.mesh_image import MESH_CHANNELS
from ...layers.motion import Window, head_motion, skin_weight, smoothstep
from ..blocks import MotionUNet, ZeroConv2d
from .configuration_teacher import SuperFaceTeacherConfig
from .volume import plane_depths

# Depths of the rigid candidate flows, in radii of the face: that of the mesh, and that of hair and ears.
RIGID_DEPTHS = (0.0, -1.5)
# Rounds in which the remaining error at the landmarks is added to the mesh flow; two rounds halve it.
MESH_ROUNDS = 2
# Candidate motions of the person: the layers', the faded mesh flow, the rigid head at two depths, half of the mesh flow (neck
# and shoulders), and rest.
CANDIDATES = 6
APPEARANCE_CHANNELS = 32
# The weight of positions without the person in an average over the person.
NOBODY = 1e-3
# The learned flow is averaged where the skin's weight is below the first number, and kept from the second on.
SKIN = (0.5, 1.0)
# The longest learned displacement, in image units; on the validation clips it is hardly ever reached.
FARTHEST = 0.1
# From the first sine of the head's turn to the second, the learned flow loses FADING of its strength: it knows few such turns,
# and draws out near ears and jaws.
FAR_TURN, FADING = (0.35, 0.55), 0.7


@dataclass
class DenseMotion:
    """The output of the dense motion network, in the coordinates of the frame's window.

    Attributes:
        learned: (B, 2, S/4, S/4) the change of the layers' backward displacement of the person.
        volume_flow: (B, D, 3, S/8, S/8) the 3D flow W_3D: backward displacement at each depth of the volume; x and y in
            image units, z in radii of the face.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the source shows the position.
    """

    learned: Tensor
    volume_flow: Tensor
    occlusion: Tensor


@dataclass
class Candidates:
    """Candidate motions that the meshes alone imply; backward, in the units of :class:`DenseMotion`.

    Attributes:
        flows: (B, CANDIDATES, 2, S/4, S/4) flows of the person; the network starts from the first.
        fade: (B, 1, S/4, S/4) how much each position belongs to the face.
        parallax: (B, D, 2, 1, 1) the additional movement of a turning head at each depth of the volume.
        rigid: (B, D, 3, S/8, S/8) the rigid motion of the head in the volume.
    """

    flows: Tensor
    fade: Tensor
    parallax: Tensor
    rigid: Tensor

    @classmethod
    def of(cls, source: Tensor, driving: Tensor, layer: Tensor, depth: int) -> Candidates:
        """Compute the candidates from landmarks.

        Args:
            source, driving: (B, 478, 3) float32 landmarks in the frame's window.
            layer: (B, 2, S/4, S/4) the layers' displacement, at twice the volume's resolution.
            depth: the number of planes of the volume.
        """
        size = layer.shape[-1]
        displacement, fade = mesh_flow(source, driving, size, MESH_ROUNDS)
        affine = rigid_motion(source, driving)
        radius, centre = face_radius(driving), driving[..., 2].mean(1)
        depths = centre[:, None] + radius[:, None] * radius.new_tensor(RIGID_DEPTHS)
        near, far = rigid_flow(affine[:, :2], depths, size).unbind(1)
        still = torch.zeros_like(layer)
        flows = torch.stack((layer, displacement * fade, near, far, 0.5 * displacement, still), dim=1)
        steps = plane_depths(depth, radius)
        parallax = (radius[:, None] * steps)[:, :, None] * affine[:, None, :2, 2]
        planes = centre[:, None] + radius[:, None] * steps
        volume = rigid_volume_flow(affine, planes, source, size // 2)
        return cls(flows, fade, parallax[..., None, None], volume)


class DenseMotionNetwork(nn.Module):
    """Chooses among candidate motions, adds a residual flow, and predicts the occlusion."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        self.depth = config.volume_depth
        self.early_mesh = config.early_mesh
        width = config.motion_channels
        self.appearance = nn.Conv2d(config.volume_channels * config.volume_depth, APPEARANCE_CHANNELS, 1)
        self.join_codes = nn.Linear(config.code_channels, config.code_channels)
        # Inputs: appearance at rest and warped by the layers, the mesh and the rigid head; reduced pixels at rest and
        # warped by all candidates; the matte at rest and warped by the layers; the meshes; flows and fade.
        seen = 4 * APPEARANCE_CHANNELS + 3 * CANDIDATES + 2 + 2 * MESH_CHANNELS + 2 * (CANDIDATES - 2) + 1
        self.unet = MotionUNet(seen, [width, width * 3 // 2, width * 2, width * 5 // 2], config.code_channels)
        # Outputs: share of the way from the first candidate to each other one, residual flow (2), occlusion, gate of
        # the parallax.
        self.head = ZeroConv2d(width, CANDIDATES + 3, 3, padding=1)
        # Outputs for each depth of the volume: share of the way to the rigid head and to rest, and a residual flow (3).
        self.volume_head = ZeroConv2d(width, self.depth * 5, 3, padding=1)

    def forward(
        self, volume: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor],
        landmarks: tuple[Tensor, Tensor], layer: Tensor, window: Window,
    ) -> tuple[DenseMotion, Tensor]:  # fmt: skip
        """Predict the motion. Each pair belongs to the source and to the driver.

        Args:
            volume: (B, D, C, S/8, S/8) the source's volume.
            pixels: (B, 4, S/8, S/8) the source and its matte, small.
            meshes: drawn meshes, (B, 7, S/8, S/8) each, the source's in the source's window.
            codes: motion representations p_s and p_d, (B, code) each.
            landmarks: (B, 478, 3) each, in the frame's window.
            layer: (B, 2, S/4, S/4) the layers' displacement of the person.
            window: the position of the frame's window in the source.

        Returns:
            The motion, and the network's own features (B, motion_channels, S/8, S/8).
        """
        source, driving = landmarks[0].float(), landmarks[1].float()
        appearance = self.appearance(volume.flatten(1, 2))
        with torch.autocast(driving.device.type, enabled=False):
            candidates = Candidates.of(source, driving, layer, self.depth)
            seen = self._look(appearance.float(), pixels.float(), meshes, candidates, window)
        code = F.silu(self.join_codes(F.silu(codes[0] + codes[1]).to(appearance.dtype)))
        hidden = self.unet(seen.to(appearance.dtype), code)
        head, volume_head = self.head(hidden).float(), self.volume_head(hidden).float()
        with torch.autocast(driving.device.type, enabled=False):
            # The heads start at zero, which gives the first candidate, the layers.
            fine = F.interpolate(head[:, : CANDIDATES + 1], scale_factor=2.0, mode="bilinear", align_corners=False)
            others = candidates.flows[:, 1:] - layer[:, None]
            learned = (fine[:, : CANDIDATES - 1, None] * others).sum(1) + 0.1 * fine[:, CANDIDATES - 1 :]
            learned = averaged_off_skin(learned, layer, pixels[:, 3:].float(), (source, driving), window)
            gate = torch.sigmoid(head[:, -1:] + 1.0)
            occlusion = torch.sigmoid(head[:, -2:-1] + 2.0)
            volume_flow = self._volume_flow(layer + learned, gate, volume_head, candidates)
        return DenseMotion(learned, volume_flow, occlusion), hidden

    def _look(
        self, appearance: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], candidates: Candidates, window: Window
    ) -> Tensor:
        """Return the network's input, which shows the source warped by each candidate."""
        coarse = F.avg_pool2d(candidates.flows.flatten(1, 2), 2).unflatten(1, (CANDIDATES, 2))
        layered, meshed, near, far, damped, still = (window.leave(flow) for flow in coarse.unbind(1))
        both = torch.cat((appearance, pixels), dim=1)
        colours = pixels[:, :3]
        if not self.early_mesh:
            meshes = (torch.zeros_like(meshes[0]), torch.zeros_like(meshes[1]))
        drawn = warp(meshes[0], still), meshes[1]
        fade = F.avg_pool2d(candidates.fade, 2)
        at_rest, moved, layers = warp(both, still), warp(both[:, :-1], meshed), warp(both, layered)
        rigid = warp(both[:, :-1], far)
        return torch.cat(
            (
                at_rest[:, :APPEARANCE_CHANNELS], moved, at_rest[:, APPEARANCE_CHANNELS:-1], *drawn,
                4 * coarse[:, 1:4].flatten(1, 2), fade, rigid, warp(colours, near), warp(colours, damped),
                layers, at_rest[:, -1:], 4 * coarse[:, 0],
            ), dim=1,
        )  # fmt: skip

    def _volume_flow(self, flow: Tensor, gate: Tensor, head: Tensor, candidates: Candidates) -> Tensor:
        """Return W_3D: the person's flow with parallax at each depth, moved toward the rigid head or rest, plus a
        residual."""
        surface = F.avg_pool2d(flow, 2)[:, None] + gate[:, None] * candidates.parallax
        base = F.pad(surface, (0, 0, 0, 0, 0, 1))  # no motion in depth
        to_rigid, to_rest, residual = head.unflatten(1, (self.depth, 5)).split((1, 1, 3), dim=2)
        return base + to_rigid * (candidates.rigid - base) - to_rest * base + 0.1 * residual


def averaged_off_skin(
    learned: Tensor, layer: Tensor, matte: Tensor, landmarks: tuple[Tensor, Tensor], window: Window
) -> Tensor:
    """Average the learned flow over the near parts of the person, except on the skin. Hair, ears and clothes may move
    otherwise than the layers, but do not melt.

    No displacement is longer than ``FARTHEST``, and far turns have ``FADING``: of rare motions, such as a head that lies on
    its side, the network knows less than the layers.

    Args:
        learned, layer: (B, 2, s, s) each.
        matte: (B, 1, s/2, s/2) the source's matte.
        landmarks: (B, 478, 3) of the source and of the driver, in the frame's window.
        window: the position of the frame's window in the source.
    """
    fine = F.interpolate(matte, scale_factor=2.0, mode="bilinear", align_corners=False)
    person = warp(fine, window.leave(layer + learned)) + NOBODY
    mean = _mean(person * learned) / _mean(person)
    head = head_motion(*landmarks)
    skin = skin_weight(landmarks[1], head, layer.shape[-1])
    whole = torch.lerp(mean, learned, smoothstep(skin, *SKIN))
    whole = whole * (1 - FADING * smoothstep(head.turned, *FAR_TURN))[:, None, None, None]
    return whole * (FARTHEST / whole.norm(dim=1, keepdim=True).clamp_min(FARTHEST))


def _mean(field: Tensor) -> Tensor:
    """Average a field with about a Gaussian of a sixteenth of the window."""
    reach = field.shape[-1] // 16
    for _ in range(3):
        field = F.pad(field, (reach,) * 4, mode="replicate")
        field = F.avg_pool2d(F.avg_pool2d(field, (1, 2 * reach + 1), stride=1), (2 * reach + 1, 1), stride=1)
    return field


def rigid_volume_flow(affine: Tensor, planes: Tensor, source: Tensor, size: int) -> Tensor:
    """Return the backward flow of a rigid head in the volume; the centre of each face's mesh is in the middle of its volume.

    Args:
        affine: (B, 3, 4) from the driver's space to the source's, see ``rigid_motion``.
        planes: (B, D) the depths of the volume's planes in the driver's space.
        source: (B, 478, 3) landmarks.

    Returns:
        (B, D, 3, size, size); x and y in image units, z in radii of the face.
    """
    depth = planes.shape[1]
    plane = rigid_flow(affine[:, :2], planes, size)
    grid = identity_grid(size, affine)[0].permute(2, 0, 1)
    landed = torch.einsum("bj,jhw->bhw", affine[:, 2, :2], grid)[:, None]
    landed = landed + (affine[:, 2, 2:3] * planes + affine[:, 2, 3:])[:, :, None, None]
    centre, radius = source[..., 2].mean(1), face_radius(source)
    landed = (landed - centre[:, None, None, None]) / radius[:, None, None, None]
    rest = plane_depths(depth, planes)[:, None, None]
    return torch.cat((plane, (landed - rest)[:, :, None]), dim=2)
