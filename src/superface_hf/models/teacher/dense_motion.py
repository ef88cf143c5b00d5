"""The 3D dense motion network, 3D DMN: where each place of the frame and of the volume comes from (SuperFace, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import face_radius, identity_grid, mesh_flow, rigid_flow, rigid_motion, warp
from ...face_model.mesh_image import MESH_CHANNELS
from ...face_model.seams import seam_flow
from .blocks import MotionUNet, ZeroConv2d
from .configuration_teacher import SuperFaceTeacherConfig
from .volume import plane_depths

# The rigid head flow is offered at the depth of the mesh and at the depth of hair and ears.
RIGID_DEPTHS = (0.0, -1.5)
# Rounds in which the mesh flow comes nearer to the landmarks: two of them halve what the plain one lacks.
MESH_ROUNDS = 2
# Candidate motions of the picture: mesh flow, rigid head flow at two depths, half of the mesh flow (neck and shoulders),
# the identity.
CANDIDATES = 5
# Channels of the drawn candidates that the network reads: flows of the first three, and the fade of the mesh flow.
CANDIDATE_CHANNELS = 2 * (CANDIDATES - 2) + 1
APPEARANCE_CHANNELS = 32


@dataclass
class DenseMotion:
    """What the dense motion network decides.

    Attributes:
        flow: (B, 2, S/2, S/2) backward displacement of the pixels, in image units.
        volume_flow: (B, D, 3, S/8, S/8) the 3D flow W_3D: backward displacement at each depth of the volume; x and y in
            image units, z in radii of the face.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the source shows the place.
    """

    flow: Tensor
    volume_flow: Tensor
    occlusion: Tensor


@dataclass
class Candidates:
    """Motions to choose from, as the meshes alone imply them; backward, in the units of :class:`DenseMotion`.

    Attributes:
        flows: (B, CANDIDATES, 2, S/4, S/4) of the picture; the first is where the network starts.
        fade: (B, 1, S/4, S/4) how far each place belongs to the face.
        parallax: (B, D, 2, 1, 1) how much farther a turning head moves at each depth of the volume.
        rigid: (B, D, 3, S/8, S/8) the rigid motion of the head in the volume.
    """

    flows: Tensor
    fade: Tensor
    parallax: Tensor
    rigid: Tensor

    @classmethod
    def of(cls, source: Tensor, driving: Tensor, size: int, depth: int, mesh_flow_prior: bool) -> Candidates:
        """``source`` and ``driving`` (B, 478, 3) float32; ``size`` of the picture's flows, twice the volume's."""
        displacement, fade = mesh_flow(source, driving, size, MESH_ROUNDS)
        if not mesh_flow_prior:
            displacement = torch.zeros_like(displacement)
        affine = rigid_motion(source, driving)
        radius, centre = face_radius(driving), driving[..., 2].mean(1)
        depths = centre[:, None] + radius[:, None] * radius.new_tensor(RIGID_DEPTHS)
        rigid = rigid_flow(affine[:, :2], depths, size)
        faded = displacement * fade
        flows = torch.stack((faded, rigid[:, 0], rigid[:, 1], 0.5 * displacement, torch.zeros_like(faded)), dim=1)
        steps = plane_depths(depth, radius)
        parallax = (radius[:, None] * steps)[:, :, None] * affine[:, None, :2, 2]
        if not mesh_flow_prior:
            parallax = torch.zeros_like(parallax)
        planes = centre[:, None] + radius[:, None] * steps
        volume = rigid_volume_flow(affine, planes, source, size // 2)
        return cls(flows, fade, parallax[..., None, None], volume)


class DenseMotionNetwork(nn.Module):
    """Chooses among candidate motions, adds a residual flow, and tells what the source does not show."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        self.depth = config.volume_depth
        self.early_mesh, self.mesh_flow_prior = config.early_mesh, config.mesh_flow_prior
        width = config.motion_channels
        self.appearance = nn.Conv2d(config.volume_channels * config.volume_depth, APPEARANCE_CHANNELS, 1)
        self.join_codes = nn.Linear(config.code_channels, config.code_channels)
        # Appearance at rest, and moved by the mesh and by the rigid head; small pixels at rest and after four candidates.
        self.unet = MotionUNet(
            3 * APPEARANCE_CHANNELS + 3 * CANDIDATES + 2 * MESH_CHANNELS + CANDIDATE_CHANNELS,
            [width, width * 3 // 2, width * 2, width * 5 // 2],
            config.code_channels,
        )
        # How far to go from the first candidate to each other one, residual flow (2), occlusion, gate on the parallax.
        self.head = ZeroConv2d(width, CANDIDATES + 3, 3, padding=1)
        # For each depth of the volume: how far to go to the rigid head and to the identity, and a residual flow (3).
        self.volume_head = ZeroConv2d(width, self.depth * 5, 3, padding=1)

    def forward(
        self, volume: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor],
        landmarks: tuple[Tensor, Tensor],
    ) -> tuple[DenseMotion, Tensor]:  # fmt: skip
        """Each pair is of the source and of the driver.

        Args:
            volume: (B, D, C, S/8, S/8) of the source.
            pixels: (B, 3, S/8, S/8) the source, small.
            meshes: drawn meshes, (B, 7, S/8, S/8) each.
            codes: motion representations p_s and p_d, (B, code) each.
            landmarks: (B, 478, 3) each.

        Returns:
            The motion, and the network's own features (B, motion_channels, S/8, S/8).
        """
        size = volume.shape[-1]
        source, driving = landmarks[0].float(), landmarks[1].float()
        appearance = self.appearance(volume.flatten(1, 2))
        with torch.autocast(driving.device.type, enabled=False):
            candidates = Candidates.of(source, driving, 2 * size, self.depth, self.mesh_flow_prior)
            seen = self._look(appearance.float(), pixels.float(), meshes, candidates)
        code = F.silu(self.join_codes(F.silu(codes[0] + codes[1]).to(appearance.dtype)))
        hidden = self.unet(seen.to(appearance.dtype), code)
        head, volume_head = self.head(hidden).float(), self.volume_head(hidden).float()
        # The heads start at zero, which leaves the first candidate, the plain mesh flow, alone.
        fine = F.interpolate(head[:, : CANDIDATES + 1], scale_factor=2.0, mode="bilinear", align_corners=False)
        others = candidates.flows[:, 1:] - candidates.flows[:, :1]
        flow = candidates.flows[:, 0] + (fine[:, : CANDIDATES - 1, None] * others).sum(1)
        flow = flow + 0.1 * fine[:, CANDIDATES - 1 :]
        gate = torch.sigmoid(head[:, -1:] + 1.0)
        occlusion = torch.sigmoid(head[:, -2:-1] + 2.0)
        volume_flow = self._volume_flow(flow, gate, volume_head, candidates)
        if self.mesh_flow_prior:
            flow = beside_seams(flow, candidates.flows[:, 0], source, driving)
        else:
            flow = F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
        return DenseMotion(flow, volume_flow, occlusion), hidden

    def _look(
        self, appearance: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], candidates: Candidates
    ) -> Tensor:
        """What the network reads: it sees where each candidate would take the source, and chooses with its eyes open."""
        coarse = F.avg_pool2d(candidates.flows.flatten(1, 2), 2)
        both = torch.cat((appearance, pixels), dim=1)
        meshed, rigid = warp(both, coarse[:, :2]), warp(both, coarse[:, 4:6])
        nearer, damped = warp(pixels, coarse[:, 2:4]), warp(pixels, coarse[:, 6:8])
        if not self.early_mesh:
            meshes = (torch.zeros_like(meshes[0]), torch.zeros_like(meshes[1]))
        flows = coarse[:, : 2 * (CANDIDATES - 2)] * 4
        fade = F.avg_pool2d(candidates.fade, 2)
        return torch.cat((appearance, meshed, pixels, *meshes, flows, fade, rigid, nearer, damped), dim=1)

    def _volume_flow(self, flow: Tensor, gate: Tensor, head: Tensor, candidates: Candidates) -> Tensor:
        """W_3D: the picture's flow with parallax at each depth, from there toward rigid head or rest, and a residual."""
        surface = F.avg_pool2d(flow, 2)[:, None] + gate[:, None] * candidates.parallax
        base = F.pad(surface, (0, 0, 0, 0, 0, 1))  # no motion in depth
        to_rigid, to_rest, residual = head.unflatten(1, (self.depth, 5)).split((1, 1, 3), dim=2)
        return base + to_rigid * (candidates.rigid - base) - to_rest * base + 0.1 * residual


def rigid_volume_flow(affine: Tensor, planes: Tensor, source: Tensor, size: int) -> Tensor:
    """The backward flow of a rigid head in the volume, the volume of each face having its mesh's centre in its middle.

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


def beside_seams(flow: Tensor, meshed: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Gives lids and lips their own flow, twice as fine: (B, 2, S/4, S/4) twice -> (B, 2, S/2, S/2).

    ``flow`` is the mesh flow ``meshed`` plus what was learned. What was learned is kept, but not around the eyes.
    """
    learned = F.interpolate(flow - meshed, scale_factor=2.0, mode="bilinear", align_corners=False)
    meshed = F.interpolate(meshed, scale_factor=2.0, mode="bilinear", align_corners=False)
    seams = seam_flow(source, driving, meshed.shape[-1])
    return torch.lerp(meshed, seams.flow, seams.weight) + (1 - seams.exact) * learned
