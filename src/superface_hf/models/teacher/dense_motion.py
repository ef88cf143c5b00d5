"""The 3D dense motion network, 3D DMN: where each place of the person and of the volume comes from (SuperFace, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import face_radius, identity_grid, rigid_flow, rigid_motion, warp
from ...face_model.mesh_image import MESH_CHANNELS
from ...layers.motion import Window
from .blocks import MotionUNet, ZeroConv2d
from .configuration_teacher import SuperFaceTeacherConfig
from .volume import plane_depths

# The rigid head flow is offered at the depth of the mesh, and at those of ears and of the back of the head.
RIGID_DEPTHS = (0.0, -1.0, -2.0)
# Candidate motions of the person: that of the layers, the rigid head at three depths, and rest.
CANDIDATES = 2 + len(RIGID_DEPTHS)
APPEARANCE_CHANNELS = 32


@dataclass
class DenseMotion:
    """What the dense motion network decides, in the coordinates of the frame's window.

    Attributes:
        learned: (B, 2, S/4, S/4) what is added to the layers' backward displacement of the person.
        volume_flow: (B, D, 3, S/8, S/8) the 3D flow W_3D: backward displacement at each depth of the volume; x and y in
            image units, z in radii of the face.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the source shows the place.
    """

    learned: Tensor
    volume_flow: Tensor
    occlusion: Tensor


@dataclass
class Candidates:
    """Motions to choose from, as the meshes alone imply them; backward, in the units of :class:`DenseMotion`.

    Attributes:
        flows: (B, CANDIDATES, 2, S/4, S/4) of the person; the first is where the network starts.
        parallax: (B, D, 2, 1, 1) how much farther a turning head moves at each depth of the volume.
        rigid: (B, D, 3, S/8, S/8) the rigid motion of the head in the volume.
    """

    flows: Tensor
    parallax: Tensor
    rigid: Tensor

    @classmethod
    def of(cls, source: Tensor, driving: Tensor, layer: Tensor, depth: int) -> Candidates:
        """``source`` and ``driving`` (B, 478, 3) float32 in the frame's window; ``layer`` (B, 2, S/4, S/4) the layers'
        displacement, twice as fine as the volume."""
        size = layer.shape[-1]
        affine = rigid_motion(source, driving)
        radius, centre = face_radius(driving), driving[..., 2].mean(1)
        depths = centre[:, None] + radius[:, None] * radius.new_tensor(RIGID_DEPTHS)
        rigid = rigid_flow(affine[:, :2], depths, size)
        flows = torch.cat((layer[:, None], rigid, torch.zeros_like(layer[:, None])), dim=1)
        steps = plane_depths(depth, radius)
        parallax = (radius[:, None] * steps)[:, :, None] * affine[:, None, :2, 2]
        planes = centre[:, None] + radius[:, None] * steps
        volume = rigid_volume_flow(affine, planes, source, size // 2)
        return cls(flows, parallax[..., None, None], volume)


class DenseMotionNetwork(nn.Module):
    """Chooses among candidate motions, adds a residual flow, and tells what the source does not show."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        self.depth = config.volume_depth
        self.early_mesh = config.early_mesh
        width = config.motion_channels
        self.appearance = nn.Conv2d(config.volume_channels * config.volume_depth, APPEARANCE_CHANNELS, 1)
        self.join_codes = nn.Linear(config.code_channels, config.code_channels)
        # Appearance, pixels and matte as the layers and two rigid heads move them; the meshes; the flows.
        seen = APPEARANCE_CHANNELS + 4
        self.unet = MotionUNet(
            2 * seen + 2 * 4 + 2 * MESH_CHANNELS + 2 * CANDIDATES,
            [width, width * 3 // 2, width * 2, width * 5 // 2],
            config.code_channels,
        )
        # How far to go from the first candidate to each other one, residual flow (2), occlusion, gate on the parallax.
        self.head = ZeroConv2d(width, CANDIDATES + 3, 3, padding=1)
        # For each depth of the volume: how far to go to the rigid head, and a residual flow (3).
        self.volume_head = ZeroConv2d(width, self.depth * 4, 3, padding=1)

    def forward(
        self, volume: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor],
        landmarks: tuple[Tensor, Tensor], layer: Tensor, window: Window,
    ) -> tuple[DenseMotion, Tensor]:  # fmt: skip
        """Each pair is of the source and of the driver.

        Args:
            volume: (B, D, C, S/8, S/8) of the source.
            pixels: (B, 4, S/8, S/8) the source and its matte, small.
            meshes: drawn meshes, (B, 7, S/8, S/8) each, the source's in the source's window.
            codes: motion representations p_s and p_d, (B, code) each.
            landmarks: (B, 478, 3) each, in the frame's window.
            layer: (B, 2, S/4, S/4) the layers' displacement of the person.
            window: where the frame's window lies in the source's.

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
            # The heads start at zero, which leaves the first candidate, the layers, alone.
            fine = F.interpolate(head[:, : CANDIDATES + 1], scale_factor=2.0, mode="bilinear", align_corners=False)
            others = candidates.flows[:, 1:] - layer[:, None]
            learned = (fine[:, : CANDIDATES - 1, None] * others).sum(1) + 0.1 * fine[:, CANDIDATES - 1 :]
            gate = torch.sigmoid(head[:, -1:] + 1.0)
            occlusion = torch.sigmoid(head[:, -2:-1] + 2.0)
            volume_flow = self._volume_flow(layer + learned, gate, volume_head, candidates)
        return DenseMotion(learned, volume_flow, occlusion), hidden

    def _look(
        self, appearance: Tensor, pixels: Tensor, meshes: tuple[Tensor, Tensor], candidates: Candidates, window: Window
    ) -> Tensor:
        """What the network reads: it sees where each candidate would take the source, and chooses with its eyes open."""
        coarse = F.avg_pool2d(candidates.flows.flatten(1, 2), 2).unflatten(1, (CANDIDATES, 2))
        placed = [window.leave(flow) for flow in coarse.unbind(1)]
        both = torch.cat((appearance, pixels), dim=1)
        moved = [warp(both, placed[0]), warp(both, placed[2])]
        others = [warp(pixels, placed[k]) for k in (1, CANDIDATES - 1)]
        if not self.early_mesh:
            meshes = (torch.zeros_like(meshes[0]), torch.zeros_like(meshes[1]))
        drawn = warp(meshes[0], placed[-1]), meshes[1]
        return torch.cat((*moved, *others, *drawn, 4 * coarse.flatten(1, 2)), dim=1)

    def _volume_flow(self, flow: Tensor, gate: Tensor, head: Tensor, candidates: Candidates) -> Tensor:
        """W_3D: the person's flow with parallax at each depth, from there toward the rigid head, and a residual."""
        surface = F.avg_pool2d(flow, 2)[:, None] + gate[:, None] * candidates.parallax
        base = F.pad(surface, (0, 0, 0, 0, 0, 1))  # no motion in depth
        to_rigid, residual = head.unflatten(1, (self.depth, 4)).split((1, 3), dim=2)
        return base + to_rigid * (candidates.rigid - base) + 0.1 * residual


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
