"""The teacher: one source picture, its matte, and a mesh that moves -> the person of each frame (SuperFace, figure 2).

The layers do the heavy lifting and need no training (``layers/``): the person moves in front of the plate. The networks learn
what layers cannot know: how hair, neck and shoulders follow, what a turn uncovers, how light changes, and what no warp can show
(the inside of a mouth, closing lids). Freshly initialised, the teacher *is* the untrained layers.

Motion and broad painting are thought out at ``config.body_size``; mouth and eyes have painters of their own, in windows at
``config.image_size``; the person's own pixels keep the picture's resolution.
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

from ...face_model.mesh_flow import at_places, mesh_flow, warp
from ...face_model.mesh_image import mesh_image, opening_image
from ...face_model.topology import POINTS
from ...hub.model import HubMixin
from ...layers.motion import Window, beside_seams, layer_flow
from ...layers.rendered import RenderedWindow
from ..painters.painter import RegionPainter, draw_region, region_shape
from ..painters.windows import EYES, MOUTH, Region, RegionWindow, feather
from .appearance_encoder import AppearanceEncoder
from .blocks import ZeroConv2d, ZeroLinear
from .configuration_teacher import SuperFaceTeacherConfig
from .dense_motion import DenseMotion, DenseMotionNetwork
from .generator import Generator, Painting
from .motion_enhancer import MotionEnhancer
from .restorer import Restorer
from .volume import warp_volume

REGIONS = (MOUTH, *EYES)


@dataclass
class PreparedSource:
    """What is computed once per portrait; S is ``config.image_size``, s ``config.body_size``.

    Attributes:
        image: (1, 3, S, S) the source in [0, 1], restored.
        matte: (1, 1, S, S) in [0, 1], 1 where the person is.
        need: (1,) in logits, how sure the restorer is that the source was a poor picture.
        body: (1, 4, s, s) image and matte; ``pixels`` (1, 4, s/8, s/8) the same, small.
        landmarks: (1, 478, 3) in image coordinates.
        volume: (1, D, C, s/8, s/8) the appearance volume F_3D.
        detail: (1, C' + 3, s/4, s/4) finer appearance features, and the drawing of how open eyes and mouth are.
        mesh: (1, 7, s/8, s/8) the source's mesh image.
        code: (1, code) the source's motion representation p_s.
        regions: for mouth and eyes each (1, 3, h, w) its pixels, (1, 3, h/2, w/2) how open it is, (1, points, 3) its shape.
    """

    image: Tensor
    matte: Tensor
    need: Tensor
    body: Tensor
    pixels: Tensor
    landmarks: Tensor
    volume: Tensor
    detail: Tensor
    mesh: Tensor
    code: Tensor
    regions: tuple[tuple[Tensor, Tensor, Tensor], ...]

    def expand(self, batch: int) -> PreparedSource:
        """The same source for a batch of driving meshes."""
        return self.mapped(lambda part: part.expand(batch, *part.shape[1:]))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> PreparedSource:
        """All of it, each part changed."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        regions = tuple((change(own), change(drawn), change(shape)) for own, drawn, shape in parts.pop("regions"))
        return PreparedSource(**{name: change(part) for name, part in parts.items()}, regions=regions)


@dataclass
class TeacherOutput:
    """The person of B frames in their windows, and how it came about.

    Attributes:
        source: what it is made from, one for each frame.
        rendered: flow, and what is kept of the warped person and what painted.
        broad: what was painted at the body's resolution, before mouth and eyes.
        motion: where everything comes from.
        driving_code: (B, code) p_d.
    """

    source: PreparedSource
    rendered: RenderedWindow
    broad: Painting
    motion: DenseMotion
    driving_code: Tensor

    @cached_property
    def warped(self) -> Tensor:
        """(B, 3, S, S): the person's own pixels after the flow. Skin and hair keep their texture when sampled bicubically."""
        return warp(self.source.image, self._placed, mode="bicubic").clamp(0, 1)

    @cached_property
    def person(self) -> Tensor:
        """(B, 3, S, S): keep * warped + paint."""
        return self.rendered.keep * self.warped + self.rendered.paint

    @cached_property
    def alpha(self) -> Tensor:
        """(B, 1, S, S) where the person is."""
        return (warp(self.source.matte, self._placed) + self.rendered.alpha_change).clamp(0, 1)

    @cached_property
    def _placed(self) -> Tensor:
        return self.rendered.window.leave(self.rendered.flow)

    def over(self, plate: Tensor) -> Tensor:
        """The frames (B, 3, S, S): the person over what lies behind, ``plate`` (B, 3, S, S) in the frames' windows."""
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
        # The mean face, whose coordinates colour the mesh images; filled by the trainer and saved with the weights.
        self.register_buffer("canonical", torch.zeros(POINTS, 3))
        self.restorer = Restorer(config)
        self.appearance_encoder = AppearanceEncoder(config)
        self.motion_enhancer = MotionEnhancer(config)
        self.dense_motion = DenseMotionNetwork(config)
        self.generator = Generator(config)
        # Both eyes have one painter; it sees the right one in a mirror.
        self.mouth_painter = _painter(MOUTH, config.mouth_channels)
        self.eye_painter = _painter(EYES[0], config.eye_channels)
        self.gradient_checkpointing = False  # set by gradient_checkpointing_enable()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (ZeroConv2d, ZeroLinear)):
            init.zeros_(module.weight)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
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
        """Renders one frame per source: (B, 3, S, S), (B, 1, S, S), (B, 478, 3), (B, 478, 3) -> :class:`TeacherOutput`."""
        return self.render(self.prepare(source, matte, source_landmarks), driving_landmarks, window)

    def prepare(self, source: Tensor, matte: Tensor, landmarks: Tensor) -> PreparedSource:
        """Computes, once per portrait, all that does not depend on the motion.

        Args:
            source: (B, 3, S, S) pictures in [0, 1], S = ``config.image_size``.
            matte: (B, 1, S, S) in [0, 1], 1 where the person is.
            landmarks: (B, 478, 3) in image coordinates (see :mod:`superface_hf.face_model`).
        """
        restored, need = self._run(self.restorer, source)
        source, matte = restored.float(), matte.float()
        body = F.avg_pool2d(torch.cat((source, matte), dim=1), source.shape[-1] // self.config.body_size)
        volume, detail = self._run(self.appearance_encoder, body.to(self.dtype))
        size = volume.shape[-1]
        mesh, openings = self._draw(landmarks, size)
        pixels = F.avg_pool2d(body, body.shape[-1] // size)
        code = self.motion_enhancer.source(pixels[:, :3], mesh, landmarks)
        detail = torch.cat((detail, openings.to(detail.dtype)), dim=1)
        regions = tuple(self._own(source, landmarks.float(), region) for region in REGIONS)
        return PreparedSource(source, matte, need, body, pixels, landmarks, volume, detail, mesh, code, regions)

    def render(
        self, source: PreparedSource, driving: Tensor, window: Window | None = None, regions: bool = True
    ) -> TeacherOutput:
        """Renders a batch of driving meshes (B, 478, 3), of one prepared source or of B of them.

        Call it under ``torch.inference_mode()`` where no gradient is wanted.

        Args:
            source: what :meth:`prepare` gave.
            driving: landmarks in the source's coordinates.
            window: where each frame's window lies in them; the source's own by default.
            regions: whether mouth and eyes are painted in windows of their own.
        """
        source = source.expand(len(driving))
        window = window or Window.same(driving)
        with torch.autocast(driving.device.type, enabled=False):
            meshes = window.enter(source.landmarks.float()), window.enter(driving.float())
            layer = layer_flow(*meshes, self.config.image_size // 4)
            coarse = F.avg_pool2d(layer, self.config.image_size // self.config.body_size)
        size = source.volume.shape[-1]
        mesh, openings = self._draw(meshes[1], size)
        codes = (source.code, self.motion_enhancer.driving(mesh, meshes[1]))
        motion, hidden = self._run(
            self.dense_motion, source.volume, source.pixels, (source.mesh, mesh), codes, meshes, coarse, window
        )
        with torch.autocast(driving.device.type, enabled=False):
            learned = _enlarged(motion.learned, layer.shape[-1])
            flow = beside_seams(layer + learned, layer, *meshes)
            volume = (
                warp_volume(source.volume.float(), _leave_volume(motion.volume_flow, window))
                * motion.occlusion[:, None]
            )
            placed = window.leave(F.avg_pool2d(flow, flow.shape[-1] // (self.config.body_size // 2)))
            detail = torch.cat((warp(source.detail.float(), placed), openings), dim=1)
            warped = warp(source.body, placed)
        dtype = hidden.dtype
        broad = self._run(self.generator, volume.to(dtype), detail.to(dtype), warped[:, :3], warped[:, 3:], hidden)
        with torch.autocast(driving.device.type, enabled=False):
            paint, change = (_enlarged(part.float(), self.config.image_size) for part in broad)
            keep = torch.ones_like(change)
        if regions:
            keep, paint = self._paint_regions(source, meshes[1], window, flow, keep, paint)
        return TeacherOutput(source, RenderedWindow(window, flow, keep, paint, change), broad, motion, codes[1])

    def _paint_regions(
        self, source: PreparedSource, driving: Tensor, frame: Window, flow: Tensor, keep: Tensor, paint: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mouth and eyes are painted on the warped person instead of the broad painting: keep and paint with them."""
        views = []
        with torch.autocast(driving.device.type, enabled=False):
            for region, (own, drawn, shape) in zip(REGIONS, source.regions, strict=True):
                window = RegionWindow.around(driving, region)
                inside = window.enter(driving)
                drawn = torch.cat((draw_region(inside, window, self.canonical.float()), drawn), dim=1)
                shapes = torch.stack((shape, region_shape(inside, region)), dim=1)
                grid = window.grid()
                places = grid + at_places(flow, grid).permute(0, 2, 3, 1)
                places = frame.centre[:, None, None] + frame.scale[:, None, None, None] * places
                seen = F.grid_sample(source.image, places, mode="bicubic", padding_mode="border", align_corners=False)
                views.append((window, (seen.clamp(0, 1), own, drawn, shapes)))
        mouth, left, right = views
        strokes = [self._run(self.mouth_painter, *mouth[1])]
        # Both eyes in one batch.
        eyes = self._run(self.eye_painter, *(torch.cat(pair) for pair in zip(left[1], right[1], strict=True)))
        strokes += list(zip(*(part.chunk(2) for part in eyes), strict=True))
        with torch.autocast(driving.device.type, enabled=False):
            for (window, _), (kept, painted) in zip(views, strokes, strict=True):
                weight = feather(window.size, kept).expand_as(kept)
                laid = window.put(torch.cat((weight, kept - 1, painted), dim=1), keep.shape[-1])
                # Inside of the window the broad painting gives way.
                keep = torch.lerp(keep, torch.ones_like(keep), laid[:, :1]) + laid[:, 1:2]
                paint = paint * (1 - laid[:, :1]) + laid[:, 2:]
        return keep, paint

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
        """The mesh image at ``size`` and, twice as fine, the openings: (B, 7, size, size), (B, 3, 2 size, 2 size)."""
        with torch.autocast(landmarks.device.type, enabled=False):
            points = landmarks.float()
            return mesh_image(points, self.canonical.float(), size), opening_image(points, 2 * size)


def _painter(region: Region, widths: tuple[int, ...] | list[int]) -> RegionPainter:
    return RegionPainter(len(region.points), (widths[0], widths[1], widths[2]))


def _enlarged(maps: Tensor, size: int) -> Tensor:
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _leave_volume(flow: Tensor, window: Window) -> Tensor:
    """As ``Window.leave``, for each plane of a volume's flow (B, D, 3, s, s), whose depths stay."""
    depth = flow.shape[1]
    spread = Window(window.centre.repeat_interleave(depth, 0), window.scale.repeat_interleave(depth, 0))
    plane = spread.leave(flow[:, :, :2].flatten(0, 1)).unflatten(0, (-1, depth))
    return torch.cat((plane, flow[:, :, 2:]), dim=2)


def plain_mesh_flow(source: Tensor, source_landmarks: Tensor, driving_landmarks: Tensor) -> Tensor:
    """The baseline without any network: the source warped by the mesh flow alone. (B, 3, S, S) -> (B, 3, S, S)."""
    displacement, fade = mesh_flow(source_landmarks, driving_landmarks, source.shape[-1] // 4)
    return warp(source, displacement * fade)


__all__ = ["PreparedSource", "SuperFaceTeacherModel", "TeacherOutput", "plain_mesh_flow"]
