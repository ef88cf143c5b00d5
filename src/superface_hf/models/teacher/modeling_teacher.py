"""The teacher: renders the person of each frame from one source picture, its matte, and driving meshes (SuperFace, figure 2).

The layers (``layers/``) need no training: the person moves in front of the plate. The networks add what layers cannot know: how
hair, neck and shoulders follow, what a turn uncovers, how light changes, and what no warp can show (the inside of a mouth,
closing lids). Freshly initialised, the teacher *is* the untrained layers.

Two painters paint mouth and eyes over the generator's result; the person's own pixels keep the picture's resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
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
from ...layers.motion import Window, beside_seams, layer_flow
from ...layers.rendered import RenderedWindow, kept_fine
from ..blocks import ZeroConv2d, ZeroLinear
from ..painters.painter import RegionPainter, draw_region, region_shape
from ..painters.teeth import with_gaps
from ..painters.windows import EYES, MOUTH, Region, RegionWindow
from .appearance_encoder import AppearanceEncoder
from .configuration_teacher import SuperFaceTeacherConfig
from .dense_motion import DenseMotion, DenseMotionNetwork
from .generator import Generator
from .key_frames import Changes, between
from .light import light_gains
from .motion_enhancer import MotionEnhancer
from .restorer import Restorer
from .volume import warp_volume

REGIONS = (MOUTH, *EYES)
# The initial colour of an opening mouth, darker than lips and lighter than a throat; it is a learned parameter.
MOUTH_INTERIOR = (0.42, 0.26, 0.25)
# The reddest place at a mouth that moves is at most so many times as red as the portrait's own mouth: in 20 clips of people
# 1.04 times on average, 1.16 in the farthest. Networks that turn bright teeth into lips overshoot it.
REDDEST = 1.15


@dataclass
class PreparedSource:
    """The data that is computed once per portrait.

    Attributes:
        image: (1, 3, S, S) the source in [0, 1], restored.
        matte: (1, 1, S, S) in [0, 1], 1 where the person is.
        need: (1,) the restorer's logit of whether the source was degraded.
        light: (1, 3, 1, 1) factors of the colours that the networks see.
        pixels: (1, 4, S/8, S/8) image and matte, small.
        landmarks: (1, 478, 3) in image coordinates.
        volume: (1, D, C, S/8, S/8) the appearance volume F_3D.
        detail: (1, C' + 3, S/4, S/4) finer appearance features, and the drawing of the openings of eyes and mouth.
        mesh: (1, 7, S/8, S/8) the source's mesh image.
        code: (1, code) the source's motion representation p_s.
        opening: (1, 1, S/2, S/2) where the source's mouth is open.
        regions: for mouth and eyes each (1, 3, h, w) its pixels, (1, 3, h/2, w/2) its openings, (1, points, 3) its shape.
    """

    image: Tensor
    matte: Tensor
    need: Tensor
    light: Tensor
    pixels: Tensor
    landmarks: Tensor
    volume: Tensor
    detail: Tensor
    mesh: Tensor
    code: Tensor
    opening: Tensor
    regions: tuple[tuple[Tensor, Tensor, Tensor], ...]

    def expand(self, batch: int) -> PreparedSource:
        """Repeat the source for a batch of driving meshes."""
        return self.mapped(lambda part: part.expand(batch, *part.shape[1:]))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PreparedSource:
        """Return the source with ``change`` applied to each tensor."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        regions = tuple((change(own), change(drawn), change(shape)) for own, drawn, shape in parts.pop("regions"))
        return PreparedSource(**{name: change(part) for name, part in parts.items()}, regions=regions)


@dataclass
class TeacherOutput:
    """The person of B frames in their windows, with the intermediate results.

    Attributes:
        source: the prepared source of each frame.
        rendered: the flow, what is kept of the warped person, and what is painted.
        motion: the output of the dense motion network, for the frames that it ran for, as the following two.
        driving_code: (B, code) p_d.
        changes: what the networks change of the layers.
    """

    source: PreparedSource
    rendered: RenderedWindow
    motion: DenseMotion
    driving_code: Tensor
    changes: Changes

    @cached_property
    def warped(self) -> Tensor:
        """The person's own pixels after the flow, (B, 3, S, S). Bicubic sampling keeps the texture of skin and hair."""
        return warp(self.source.image, self._placed, mode="bicubic").clamp(0, 1)

    @cached_property
    def person(self) -> Tensor:
        """The person's pixels (B, 3, S, S): keep * warped + paint."""
        return self.rendered.keep * self.warped + self.rendered.paint

    @cached_property
    def alpha(self) -> Tensor:
        """The person's matte (B, 1, S, S)."""
        return (warp(self.source.matte, self._placed) + self.rendered.alpha_change).clamp(0, 1)

    @cached_property
    def _placed(self) -> Tensor:
        return self.rendered.window.leave(self.rendered.flow)

    def over(self, plate: Tensor) -> Tensor:
        """Return the frames (B, 3, S, S): the person over the background ``plate`` (B, 3, S, S) in the frames' windows."""
        return torch.lerp(plate, self.person, self.alpha)


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
        # The mean face, whose coordinates colour the mesh images; set by the trainer and saved with the weights.
        self.register_buffer("canonical", torch.zeros(POINTS, 3))
        self.restorer = Restorer(config)
        self.appearance_encoder = AppearanceEncoder(config)
        self.motion_enhancer = MotionEnhancer(config)
        self.dense_motion = DenseMotionNetwork(config)
        self.generator = Generator(config)
        # One painter serves both eyes; the right eye is mirrored.
        self.mouth_painter = _painter(MOUTH, config.mouth_channels, REDDEST)
        self.eye_painter = _painter(EYES[0], config.eye_channels)
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

    def forward(
        self,
        source: Tensor,
        matte: Tensor,
        source_landmarks: Tensor,
        driving_landmarks: Tensor,
        window: Window | None = None,
    ) -> TeacherOutput:
        """Render one frame per source: (B, 3, S, S), (B, 1, S, S), (B, 478, 3), (B, 478, 3) -> :class:`TeacherOutput`."""
        return self.render(self.prepare(source, matte, source_landmarks), driving_landmarks, window)

    def prepare(self, source: Tensor, matte: Tensor, landmarks: Tensor) -> PreparedSource:
        """Compute everything that does not depend on the motion, once per portrait.

        Args:
            source: (B, 3, S, S) pictures in [0, 1], S = ``config.image_size``.
            matte: (B, 1, S, S) in [0, 1], 1 where the person is.
            landmarks: (B, 478, 3) in image coordinates (see :mod:`superface_hf.face_model`).
        """
        restored, need = self._run(self.restorer, source)
        source, matte = restored.float(), matte.float()
        light = light_gains(source, landmarks)
        balanced = (source * light).clamp(0, 1)
        body = torch.cat((balanced, matte), dim=1)
        volume, detail = self._run(self.appearance_encoder, body.to(self.dtype))
        size = volume.shape[-1]
        mesh, openings = self._draw(landmarks, size)
        pixels = F.avg_pool2d(body, body.shape[-1] // size)
        code = self.motion_enhancer.source(pixels[:, :3], mesh, landmarks)
        detail = torch.cat((detail, openings.to(detail.dtype)), dim=1)
        opening = mouth_opening_mask(landmarks.float(), source.shape[-1] // 2)
        regions = tuple(self._own(balanced, landmarks.float(), region) for region in REGIONS)
        return PreparedSource(
            source, matte, need, light, pixels, landmarks, volume, detail, mesh, code, opening, regions
        )

    def render(
        self, source: PreparedSource, driving: Tensor, window: Window | None = None, before: Changes | None = None
    ) -> TeacherOutput:
        """Render a batch of driving meshes (B, 478, 3) of one prepared source, or of B of them.

        Call it under ``torch.inference_mode()`` unless gradients are needed.

        Args:
            source: the result of :meth:`prepare`.
            driving: landmarks in the source's coordinates.
            window: the position of each frame's window in them; the source's own by default.
            before: the changes of the key frame before these frames, the last of which is the next key frame. The motion
                network and the generator then run for the last frame alone, and the others' changes are interpolated.
        """
        source = source.expand(len(driving))
        window = window or Window.same(driving)
        size = source.volume.shape[-1]
        with torch.autocast(driving.device.type, enabled=False):
            meshes = window.enter(source.landmarks.float()), window.enter(driving.float())
            layer = layer_flow(*meshes, 2 * size)
        key = slice(0 if before is None else len(driving) - 1, None)
        own, inside = source.mapped(lambda part: part[key]), (meshes[0][key], meshes[1][key])
        mesh, openings = self._draw(inside[1], size)
        codes = (own.code, self.motion_enhancer.driving(mesh, inside[1]))
        places = Window(window.centre[key], window.scale[key])
        motion, hidden = self._run(
            self.dense_motion, own.volume, own.pixels, (own.mesh, mesh), codes, inside, layer[key], places
        )
        with torch.autocast(driving.device.type, enabled=False):
            learned = motion.learned if before is None else between(before.flow, motion.learned, len(driving))
            flow = beside_seams(layer + learned, layer, *meshes)
            placed = window.leave(flow)
            moved = _leave_volume(motion.volume_flow, places)
            volume = warp_volume(own.volume.float(), moved) * motion.occlusion[:, None]
            detail = torch.cat((warp(own.detail.float(), placed[key]), openings), dim=1)
            fine = F.interpolate(placed, size=source.image.shape[-2:], mode="bilinear", align_corners=False)
            # Bicubic, because bilinear sampling lost a third of the texture of skin and hair (variance of the Laplacian).
            warped = warp(source.image, fine, mode="bicubic").clamp(0, 1)
            balanced = (warped * source.light).clamp(0, 1)
            alpha = warp(source.matte, fine)
            opening = mouth_opening_mask(meshes[1], source.opening.shape[-1])
            opened = (opening - warp(source.opening, placed)).clamp_min(0)
        dtype = hidden.dtype
        painted = self._run(self.generator, volume.to(dtype), detail.to(dtype), balanced[key], alpha[key], hidden)
        changes = Changes(motion.learned, painted)
        with torch.autocast(driving.device.type, enabled=False):
            painted = painted if before is None else between(before.painted, painted, len(driving))
            keep, paint, change = self.generator.paint(painted, balanced, alpha, opened)
            person = self._paint_regions(source, meshes[1], keep * balanced + paint, opened)
            person = warped + (person - balanced) / source.light
            # Pictures may be finer than the window: unpainted pixels are kept completely. Losses do not need that.
            keep, paint = (
                (keep, person - keep * warped) if self.training else kept_fine(keep, person - keep * warped, warped)
            )
        return TeacherOutput(source, RenderedWindow(window, flow, keep, paint, change), motion, codes[1], changes)

    def _paint_regions(self, source: PreparedSource, driving: Tensor, person: Tensor, opened: Tensor) -> Tensor:
        """Paint mouth and eyes on the person (B, 3, S, S), and return the result; ``opened`` as of the generator."""
        views = []
        with torch.autocast(driving.device.type, enabled=False):
            for region, (own, drawn, shape) in zip(REGIONS, source.regions, strict=True):
                window = RegionWindow.around(driving, region)
                inside = window.enter(driving)
                drawn = torch.cat((draw_region(inside, window, self.canonical.float()), drawn), dim=1)
                shapes = torch.stack((shape, region_shape(inside, region)), dim=1)
                views.append((window, (window.cut(person).clamp(0, 1), own, drawn, shapes)))
        mouth, left, right = views
        strokes = [self._paint_mouth(*mouth, driving, opened)]
        # Both eyes in one batch.
        strokes += self._run(
            self.eye_painter, *(torch.cat(pair) for pair in zip(left[1], right[1], strict=True))
        ).chunk(2)
        with torch.autocast(driving.device.type, enabled=False):
            painted = person.clone()
            for (window, _), stroke in zip(views, strokes, strict=True):
                window.add(stroke, painted)
            return painted

    def _paint_mouth(self, window: RegionWindow, views: tuple[Tensor, ...], driving: Tensor, opened: Tensor) -> Tensor:
        """Return the change of the mouth's window."""
        shown, own, *_ = views
        stroke = self._run(self.mouth_painter, *views)
        with torch.autocast(driving.device.type, enabled=False):
            return with_gaps(shown + stroke, own, window.enter(driving), window.cut(opened)) - shown

    @staticmethod
    def _own(source: Tensor, landmarks: Tensor, region: Region) -> tuple[Tensor, Tensor, Tensor]:
        window = RegionWindow.around(landmarks, region)
        inside = window.enter(landmarks)
        return window.cut(source), draw_region(inside, window, None), region_shape(inside, region)

    def _run(self, part: nn.Module, *inputs: Any) -> Any:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(part.__call__, *inputs)
        return part(*inputs)

    def _draw(self, landmarks: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Draw the mesh image at ``size`` and the openings at twice the resolution: (B, 7, size, size), (B, 3, 2 size,
        2 size)."""
        with torch.autocast(landmarks.device.type, enabled=False):
            points = landmarks.float()
            return mesh_image(points, self.canonical.float(), size), opening_image(points, 2 * size)


def _painter(region: Region, widths: tuple[int, ...] | list[int], reddest: float | None = None) -> RegionPainter:
    return RegionPainter(len(region.points), (widths[0], widths[1], widths[2]), reddest)


def _leave_volume(flow: Tensor, window: Window) -> Tensor:
    """Apply ``Window.leave`` to each plane of a volume's flow (B, D, 3, s, s), whose depths stay."""
    depth = flow.shape[1]
    spread = Window(window.centre.repeat_interleave(depth, 0), window.scale.repeat_interleave(depth, 0))
    plane = spread.leave(flow[:, :, :2].flatten(0, 1)).unflatten(0, (-1, depth))
    return torch.cat((plane, flow[:, :, 2:]), dim=2)


def plain_mesh_flow(source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
    """Warp the source by the mesh flow alone, the baseline without any network: (B, 3, S, S) -> (B, 3, S, S)."""
    displacement, fade = mesh_flow(source_landmarks, driving_landmarks, source.shape[-1] // 4)
    return warp(source, displacement * fade)


__all__ = ["PreparedSource", "SuperFaceTeacherModel", "TeacherOutput", "plain_mesh_flow"]
