"""The teacher: one source picture and a mesh that moves -> frames of 512x512 pixels (SuperFace, figure 2).

The mesh flow does the heavy lifting and needs no training; the networks learn what it cannot know: how hair, neck and
shoulders follow, and what no warp can show (the inside of a mouth, closing lids, uncovered background). Freshly
initialised, the teacher *is* the plain mesh-flow warp, but for the inside of an opening mouth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...face_model.mesh_flow import face_radius, mesh_flow, rigid_flow, rigid_motion, warp
from ...face_model.mesh_image import MESH_CHANNELS, OPENING_CHANNELS, mesh_image, opening_image
from ...face_model.seams import mouth_opening_mask, seam_flow
from ...face_model.topology import POINTS
from .configuration_teacher import SuperFaceTeacherConfig
from .layers import MotionUNet, ResidualBlock, ZeroConv2d, conv, upsample

# Depths of the appearance volume, in radii of the face, behind (-) and before (+) the centre of the mesh.
VOLUME_NEAR, VOLUME_FAR = 1.0, -2.5
# The rigid head flow is offered to the motion network at the depth of the mesh and at the depth of hair and ears.
RIGID_DEPTHS = (0.0, -1.5)
# The colour that an opening mouth starts from: darker than lips, lighter than a throat. Learned from there on.
MOUTH_INTERIOR = (0.42, 0.26, 0.25)
# Candidate motions: mesh flow, rigid head flow at two depths, half of the mesh flow (neck and shoulders), rest.
CANDIDATES = 5


@dataclass
class PreparedSource:
    """What is computed once per portrait.

    Attributes:
        image: (1, 3, S, S) the source in [0, 1].
        landmarks: (1, 478, 3) in image coordinates.
        volume: (1, C * D, S/8, S/8) the appearance volume F_3D, channels first within each depth.
        detail: (1, C' + 3, S/4, S/4) finer appearance features, and the drawing of how open eyes and mouth are.
        mesh: (1, 7, S/8, S/8) the source's mesh image.
        opening: (1, 1, S/2, S/2) where the source's mouth is open.
    """

    image: Tensor
    landmarks: Tensor
    volume: Tensor
    detail: Tensor
    mesh: Tensor
    opening: Tensor

    def expand(self, batch: int) -> PreparedSource:
        """The same source for a batch of driving meshes."""
        return PreparedSource(
            *(
                part.expand(batch, *part.shape[1:])
                for part in (self.image, self.landmarks, self.volume, self.detail, self.mesh, self.opening)
            )
        )


@dataclass
class DenseMotion:
    """What the dense motion network decides.

    Attributes:
        flow: (B, 2, S/2, S/2) backward displacement of the pixels, in image units.
        volume_flow: (B, D, 2, S/8, S/8) the 3D flow W_3D: the displacement at each depth of the volume.
        occlusion: (B, 1, S/8, S/8) in [0, 1], 1 where the source shows the place.
    """

    flow: Tensor
    volume_flow: Tensor
    occlusion: Tensor


@dataclass
class TeacherOutput:
    """Frames (B, 3, S, S) in [0, 1] and, for the losses, how they came about.

    ``warped`` are the source's own pixels after the flow, ``generated`` the painted ones, and ``keep`` (B, 1, S, S) the
    mask that chooses between them.
    """

    frames: Tensor
    warped: Tensor
    generated: Tensor
    keep: Tensor
    motion: DenseMotion


class AppearanceEncoder(nn.Module):
    """Source picture (B, 3, S, S) -> volume (B, C * D, S/8, S/8) and detail (B, C', S/4, S/4)."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        wide = config.generator_channels[0]
        self.stem = conv(12, 24)
        self.fine = conv(24, config.detail_channels, stride=2)
        self.fine_block = ResidualBlock(config.detail_channels)
        self.coarse = conv(config.detail_channels, wide, stride=2)
        self.coarse_block = ResidualBlock(wide)
        self.to_volume = nn.Conv2d(wide, config.volume_channels * config.volume_depth, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = F.silu(self.stem(F.pixel_unshuffle(image * 2 - 1, 2)))
        detail = self.fine_block(self.fine(x))
        x = self.coarse_block(self.coarse(F.silu(detail)))
        return self.to_volume(x), detail


class DenseMotionNetwork(nn.Module):
    """Chooses among candidate motions, adds a residual flow, and tells what the source does not show."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        self.depth = config.volume_depth
        width = config.motion_channels
        appearance = config.volume_channels * config.volume_depth
        self.appearance = nn.Conv2d(appearance, 32, 1)
        flows = 2 * (CANDIDATES - 2) + 1
        self.landmark_code = nn.Sequential(
            nn.Linear(2 * POINTS * 3, config.landmark_channels),
            nn.SiLU(),
            nn.Linear(config.landmark_channels, config.landmark_channels),
            nn.SiLU(),
        )
        self.unet = MotionUNet(
            96 + 3 * CANDIDATES + 2 * MESH_CHANNELS + flows,
            [width, width * 3 // 2, width * 2, width * 5 // 2],
            config.landmark_channels,
        )
        # Per cell: how far to go from the mesh flow to each other candidate, residual flow (2), occlusion, gate on the
        # parallax of the volume's depths.
        self.head = ZeroConv2d(width, CANDIDATES + 3, 3, padding=1)

    def forward(self, source: PreparedSource, driving: Tensor, driving_mesh: Tensor) -> tuple[DenseMotion, Tensor]:
        size = source.volume.shape[-1]
        appearance = self.appearance(source.volume)
        with torch.autocast(driving.device.type, enabled=False):
            candidates, fade, parallax = self.candidate_motions(source.landmarks.float(), driving.float(), 2 * size)
            coarse = F.avg_pool2d(candidates.flatten(1, 2), 2)  # (B, 2 * CANDIDATES, size, size)
            small = F.interpolate(source.image.float(), size=(size, size), mode="area")
            # The network sees where each candidate would take the source, and chooses with its eyes open.
            everything = torch.cat((appearance.float(), small), dim=1)
            meshed, rigid = warp(everything, coarse[:, :2]), warp(everything, coarse[:, 4:6])
            nearer, damped = warp(small, coarse[:, 2:4]), warp(small, coarse[:, 6:8])
            features = torch.cat(
                (
                    appearance,
                    meshed,
                    small,
                    source.mesh,
                    driving_mesh,
                    coarse[:, : 2 * (CANDIDATES - 2)] * 4,
                    F.avg_pool2d(fade, 2),
                    rigid,
                    nearer,
                    damped,
                ),
                dim=1,
            )
            code_input = torch.cat([_normalized(source.landmarks), 4 * _change(source.landmarks, driving)], dim=1)
        hidden = self.unet(features.to(appearance.dtype), self.landmark_code(code_input))
        head = self.head(hidden).float()
        # All of the head starts at zero, which leaves the first candidate, the plain mesh flow, alone.
        fine = F.interpolate(head[:, : CANDIDATES + 1], scale_factor=2.0, mode="bilinear", align_corners=False)
        others = candidates[:, 1:] - candidates[:, :1]
        flow = candidates[:, 0] + (fine[:, : CANDIDATES - 1, None] * others).sum(1) + 0.1 * fine[:, CANDIDATES - 1 :]
        gate = torch.sigmoid(head[:, -1:] + 1.0)
        volume_flow = F.avg_pool2d(flow, 2)[:, None] + gate[:, None] * parallax
        occlusion = torch.sigmoid(head[:, -2:-1] + 2.0)
        flow = beside_seams(flow, candidates[:, 0], source.landmarks.float(), driving.float())
        return DenseMotion(flow, volume_flow, occlusion), hidden

    def candidate_motions(self, source: Tensor, driving: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B, CANDIDATES, 2, size, size) backward displacements, fade (B, 1, size, size), parallax (B, D, 2, 1, 1)."""
        displacement, fade = mesh_flow(source, driving, size)
        faded = displacement * fade
        affine = rigid_motion(source, driving)
        radius, centre = face_radius(driving), driving[..., 2].mean(1)
        depths = centre[:, None] + radius[:, None] * radius.new_tensor(RIGID_DEPTHS)
        rigid = rigid_flow(affine, depths, size)
        rest = torch.zeros_like(faded)
        candidates = torch.stack((faded, rigid[:, 0], rigid[:, 1], 0.5 * displacement, rest), dim=1)
        steps = torch.linspace(VOLUME_FAR, VOLUME_NEAR, self.depth, device=radius.device)
        parallax = (radius[:, None] * steps)[:, :, None] * affine[:, None, :, 2]
        return candidates, fade, parallax[..., None, None]


class Generator(nn.Module):
    """Paints on top of the warped source and tells where the warped pixel should be kept."""

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        wide, middle, narrow = config.generator_channels
        self.keep_bias = config.keep_bias
        volume = config.volume_channels * config.volume_depth
        self.enter = conv(volume + config.motion_channels, wide)
        self.blocks = nn.Sequential(ResidualBlock(wide), ResidualBlock(wide))
        self.to_coarse = conv(wide, middle)
        self.coarse = conv(middle + config.detail_channels + 2 * OPENING_CHANNELS, middle)
        self.coarse_block = ResidualBlock(middle)
        self.to_fine = conv(middle, narrow)
        self.fine = conv(narrow + 12, narrow)
        self.head = ZeroConv2d(narrow, 16, 3, padding=1)
        self.mouth_interior = nn.Parameter(torch.empty(3))

    def forward(
        self, volume: Tensor, detail: Tensor, warped: Tensor, hidden: Tensor, opened: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``detail`` (B, C' + 6, S/4, S/4): what the source brings along, and how open eyes and mouth shall be.
        ``opened`` (B, 1, S/2, S/2) in [0, 1]: where the mouth opens and the source has only lips to warp there.

        Returns frames, generated pixels (B, 3, S, S) in [0, 1] and the keep mask (B, 1, S, S).
        """
        x = self.blocks(self.enter(torch.cat((volume, hidden), dim=1)))
        x = upsample(F.silu(self.to_coarse(F.silu(x))))
        x = self.coarse_block(self.coarse(torch.cat((x, detail), dim=1)))
        x = upsample(F.silu(self.to_fine(F.silu(x))))
        pixels = F.pixel_unshuffle(warped.to(x.dtype) * 2 - 1, 2)
        x = F.silu(self.fine(torch.cat((x, pixels), dim=1)))
        painted = F.pixel_shuffle(self.head(x), 2).float()
        opened = F.interpolate(opened, scale_factor=2.0, mode="bilinear", align_corners=False)
        base = torch.logit(warped.float().clamp(0.004, 0.996))
        base = torch.lerp(base, self.mouth_interior.float()[:, None, None], opened)
        generated = torch.sigmoid(base + painted[:, :3])
        keep = torch.sigmoid(painted[:, 3:] + self.keep_bias) * (1 - opened)
        return keep * warped + (1 - keep) * generated, generated, keep


class SuperFaceTeacherModel(PreTrainedModel):
    """The SuperFace teacher (SuperFace, section 3; figure 2).

    It renders from meshes alone: no driving pixels are needed, so a video, speech, text or sliders can drive it through
    a :class:`~superface_hf.Motion`.
    """

    config_class = SuperFaceTeacherConfig
    config: SuperFaceTeacherConfig
    main_input_name = "source"
    canonical: Tensor

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__(config)
        # The mean face, whose coordinates colour the mesh images; filled by the trainer and saved with the weights.
        self.register_buffer("canonical", torch.zeros(POINTS, 3))
        self.appearance_encoder = AppearanceEncoder(config)
        self.dense_motion = DenseMotionNetwork(config)
        self.generator = Generator(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroConv2d):
            init.zeros_(module.weight)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, Generator):
            init.copy_(module.mouth_interior, torch.logit(torch.tensor(MOUTH_INTERIOR)))
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            init.zeros_(module.bias)

    def prepare(self, source: Tensor, landmarks: Tensor) -> PreparedSource:
        """Computes, once per portrait, all that does not depend on the motion.

        Args:
            source: (B, 3, S, S) pictures in [0, 1], S = ``config.image_size``.
            landmarks: (B, 478, 3) in image coordinates (see :mod:`superface_hf.face_model`).
        """
        volume, detail = self.appearance_encoder(source.to(self.dtype))
        mesh, openings = self.draw(landmarks, volume.shape[-1])
        detail = torch.cat((detail, openings.to(detail.dtype)), dim=1)
        opening = mouth_opening_mask(landmarks.float(), source.shape[-1] // 2)
        return PreparedSource(source, landmarks, volume, detail, mesh, opening)

    def draw(self, landmarks: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The mesh image at ``size`` and, twice as fine, the openings: (B, 7, size, size), (B, 3, 2 size, 2 size)."""
        with torch.autocast(landmarks.device.type, enabled=False):
            points = landmarks.float()
            return mesh_image(points, self.canonical.float(), size), opening_image(points, 2 * size)

    def forward(self, source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> TeacherOutput:
        """Renders one frame per source: (B, 3, S, S), (B, 478, 3), (B, 478, 3) -> :class:`TeacherOutput`."""
        return self.render(self.prepare(source, source_landmarks), driving_landmarks)

    def render(self, source: PreparedSource, driving: Tensor) -> TeacherOutput:
        """Renders a batch of driving meshes (B, 478, 3), of one prepared source or of B of them.

        Call it under ``torch.inference_mode()`` where no gradient is wanted.
        """
        source = source.expand(len(driving))
        mesh, openings = self.draw(driving, source.volume.shape[-1])
        motion, hidden = self.dense_motion(source, driving, mesh)
        with torch.autocast(driving.device.type, enabled=False):
            volume = warp_volume(source.volume.float(), motion.volume_flow) * motion.occlusion
            detail = torch.cat((warp(source.detail.float(), motion.flow), openings), dim=1)
            warped = warp(source.image.float(), motion.flow)
            opening = mouth_opening_mask(driving.float(), source.opening.shape[-1])
            opened = (opening - warp(source.opening, motion.flow)).clamp_min(0)
        dtype = hidden.dtype
        frames, generated, keep = self.generator(volume.to(dtype), detail.to(dtype), warped, hidden, opened)
        return TeacherOutput(frames, warped, generated, keep, motion)


def beside_seams(flow: Tensor, meshed: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Gives lids and lips their own flow, twice as fine: (B, 2, S/4, S/4) twice -> (B, 2, S/2, S/2).

    ``flow`` is the mesh flow ``meshed`` plus what was learned. What was learned is kept, but not around the eyes.
    """
    learned = F.interpolate(flow - meshed, scale_factor=2.0, mode="bilinear", align_corners=False)
    meshed = F.interpolate(meshed, scale_factor=2.0, mode="bilinear", align_corners=False)
    seams = seam_flow(source, driving, meshed.shape[-1])
    return torch.lerp(meshed, seams.flow, seams.weight) + (1 - seams.exact) * learned


def warp_volume(volume: Tensor, flow: Tensor) -> Tensor:
    """Warps each depth of the volume by its own flow: (B, C * D, S, S), (B, D, 2, S, S) -> (B, C * D, S, S)."""
    batch, depth = flow.shape[:2]
    slices = volume.reshape(batch * depth, -1, *volume.shape[2:])
    return warp(slices, flow.flatten(0, 1)).reshape(volume.shape)


def plain_mesh_flow(source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
    """The baseline without any network: the source warped by the mesh flow alone. (B, 3, S, S) -> (B, 3, S, S)."""
    displacement, fade = mesh_flow(source_landmarks, driving_landmarks, source.shape[-1] // 4)
    return warp(source, displacement * fade)


def _normalized(landmarks: Tensor) -> Tensor:
    centred = landmarks - landmarks.mean(1, keepdim=True)
    return (centred / face_radius(landmarks)[:, None, None]).flatten(1)


def _change(source: Tensor, driving: Tensor) -> Tensor:
    return _normalized(driving) - _normalized(source)


__all__ = [
    "PreparedSource",
    "SuperFaceTeacherModel",
    "TeacherOutput",
    "plain_mesh_flow",
]
