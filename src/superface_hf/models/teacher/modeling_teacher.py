"""The teacher: one source picture and a mesh that moves -> frames of 512x512 pixels (SuperFace, figure 2).

The mesh flow does the heavy lifting and needs no training; the networks learn what it cannot know: how hair, neck and
shoulders follow, and what no warp can show (the inside of a mouth, closing lids, uncovered background). Freshly
initialised, the teacher *is* the plain mesh-flow warp, but for the inside of an opening mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...face_model.mesh_flow import mesh_flow, warp
from ...face_model.mesh_image import mesh_image, opening_image
from ...face_model.seams import mouth_opening_mask
from ...face_model.topology import POINTS
from ...hub.model import HubMixin
from .appearance_encoder import AppearanceEncoder
from .blocks import ZeroConv2d, ZeroLinear
from .configuration_teacher import SuperFaceTeacherConfig
from .dense_motion import DenseMotion, DenseMotionNetwork
from .generator import Generator
from .motion_enhancer import MotionEnhancer
from .restorer import Restoration, Restorer
from .sharpening import sharpened
from .volume import warp_volume

# The colour that an opening mouth starts from: darker than lips, lighter than a throat. Learned from there on.
MOUTH_INTERIOR = (0.42, 0.26, 0.25)


@dataclass
class PreparedSource:
    """What is computed once per portrait.

    Attributes:
        image: (1, 3, S, S) the source in [0, 1], restored.
        need: (1,) in logits, how sure the restorer is that the source was a poor picture.
        pixels: (1, 3, S/8, S/8) the same, small.
        landmarks: (1, 478, 3) in image coordinates.
        volume: (1, D, C, S/8, S/8) the appearance volume F_3D.
        detail: (1, C' + 3, S/4, S/4) finer appearance features, and the drawing of how open eyes and mouth are.
        mesh: (1, 7, S/8, S/8) the source's mesh image.
        code: (1, code) the source's motion representation p_s.
        opening: (1, 1, S/2, S/2) where the source's mouth is open.
    """

    image: Tensor
    need: Tensor
    pixels: Tensor
    landmarks: Tensor
    volume: Tensor
    detail: Tensor
    mesh: Tensor
    code: Tensor
    opening: Tensor

    def expand(self, batch: int) -> PreparedSource:
        """The same source for a batch of driving meshes."""
        parts = (getattr(self, field.name) for field in fields(self))
        return PreparedSource(*(part.expand(batch, *part.shape[1:]) for part in parts))


@dataclass
class TeacherOutput:
    """Frames (B, 3, S, S) in [0, 1] and how they came about.

    ``restored`` is the source (B, 3, S, S) that everything is made from, and (B,) how sure the restorer is that it was poor;
    ``warped`` are its pixels after the flow, ``generated`` the painted ones, and ``keep`` (B, 1, S, S) the mask that
    chooses between them. ``source_code`` and
    ``driving_code`` (B, code) are p_s and p_d.
    """

    frames: Tensor
    restored: Restoration
    warped: Tensor
    generated: Tensor
    keep: Tensor
    motion: DenseMotion
    source_code: Tensor
    driving_code: Tensor


class SuperFaceTeacherModel(HubMixin, PreTrainedModel):
    """The SuperFace teacher (SuperFace, section 3; figure 2).

    It renders from meshes alone: no driving pixels are needed, so a video, speech, text or sliders can drive it through
    a :class:`~superface_hf.Motion`.
    """

    config_class = SuperFaceTeacherConfig
    config: SuperFaceTeacherConfig
    main_input_name = "source"
    supports_gradient_checkpointing = True
    canonical: Tensor

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__(config)
        # The mean face, whose coordinates colour the mesh images; filled by the trainer and saved with the weights.
        self.register_buffer("canonical", torch.zeros(POINTS, 3))
        self.restorer = Restorer(config)
        self.appearance_encoder = AppearanceEncoder(config)
        self.motion_enhancer = MotionEnhancer(config)
        self.dense_motion = DenseMotionNetwork(config)
        self.generator = Generator(config)
        self.gradient_checkpointing = False  # set by gradient_checkpointing_enable()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (ZeroConv2d, ZeroLinear)):
            init.zeros_(module.weight)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, Generator):
            init.copy_(module.mouth_interior, torch.logit(torch.tensor(MOUTH_INTERIOR)))
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            init.zeros_(module.bias)

    def forward(self, source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> TeacherOutput:
        """Renders one frame per source: (B, 3, S, S), (B, 478, 3), (B, 478, 3) -> :class:`TeacherOutput`."""
        return self.render(self.prepare(source, source_landmarks), driving_landmarks)

    def prepare(self, source: Tensor, landmarks: Tensor) -> PreparedSource:
        """Computes, once per portrait, all that does not depend on the motion.

        Args:
            source: (B, 3, S, S) pictures in [0, 1], S = ``config.image_size``.
            landmarks: (B, 478, 3) in image coordinates (see :mod:`superface_hf.face_model`).
        """
        restored, need = self._run(self.restorer, source)
        source = restored.float()
        volume, detail = self._run(self.appearance_encoder, source.to(self.dtype))
        size = volume.shape[-1]
        mesh, openings = self._draw(landmarks, size)
        pixels = F.interpolate(source, size=(size, size), mode="area")
        code = self.motion_enhancer.source(pixels, mesh, landmarks)
        detail = torch.cat((detail, openings.to(detail.dtype)), dim=1)
        opening = mouth_opening_mask(landmarks.float(), source.shape[-1] // 2)
        return PreparedSource(source, need, pixels, landmarks, volume, detail, mesh, code, opening)

    def render(self, source: PreparedSource, driving: Tensor) -> TeacherOutput:
        """Renders a batch of driving meshes (B, 478, 3), of one prepared source or of B of them.

        Call it under ``torch.inference_mode()`` where no gradient is wanted.
        """
        source = source.expand(len(driving))
        size = source.volume.shape[-1]
        mesh, openings = self._draw(driving, size)
        codes = (source.code, self.motion_enhancer.driving(mesh, driving))
        motion, hidden = self._run(
            self.dense_motion,
            source.volume,
            source.pixels,
            (source.mesh, mesh),
            codes,
            (source.landmarks, driving),
        )
        with torch.autocast(driving.device.type, enabled=False):
            volume = warp_volume(source.volume.float(), motion.volume_flow) * motion.occlusion[:, None]
            detail = torch.cat((warp(source.detail.float(), motion.flow), openings), dim=1)
            # Skin and hair keep their texture: bilinear sampling took a third of it (variance of the Laplacian).
            warped = warp(source.image.float(), motion.flow, mode="bicubic").clamp(0, 1)
            opening = mouth_opening_mask(driving.float(), source.opening.shape[-1])
            opened = (opening - warp(source.opening, motion.flow)).clamp_min(0)
        dtype = hidden.dtype
        painting = self._run(self.generator, volume.to(dtype), detail.to(dtype), warped, hidden, opened)
        frames = painting.frames
        if not self.training:  # a generator that saw this done would learn to undo it
            with torch.autocast(driving.device.type, enabled=False):
                frames = sharpened(frames, motion.flow.float(), self.config.sharpening)
        return TeacherOutput(
            frames, Restoration(source.image, source.need), warped, painting.generated, painting.keep, motion, *codes
        )

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(part.__call__, *inputs)
        return part(*inputs)

    def _draw(self, landmarks: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The mesh image at ``size`` and, twice as fine, the openings: (B, 7, size, size), (B, 3, 2 size, 2 size)."""
        with torch.autocast(landmarks.device.type, enabled=False):
            points = landmarks.float()
            return mesh_image(points, self.canonical.float(), size), opening_image(points, 2 * size)


def plain_mesh_flow(source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
    """The baseline without any network: the source warped by the mesh flow alone. (B, 3, S, S) -> (B, 3, S, S)."""
    displacement, fade = mesh_flow(source_landmarks, driving_landmarks, source.shape[-1] // 4)
    return warp(source, displacement * fade)


__all__ = ["PreparedSource", "SuperFaceTeacherModel", "TeacherOutput", "plain_mesh_flow"]
