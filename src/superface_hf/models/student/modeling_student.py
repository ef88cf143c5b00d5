"""The student: renders one person at a hundredth of the teacher's cost (SuperFace, figure 2's dashed lines).

It stores the teacher's results for one portrait: the picture and its layers, the appearance feature, the landmarks. Each frame
needs only the layers' flow from some landmarks, a 2D dense motion network, a 2D generator, and finer windows at the
mouth and at the eyes. Like the teacher it returns the person's flow, what is kept of the warped pixels, and what is
painted; ``layers`` composes them at the picture's own resolution. Freshly initialised, the student *is* the untrained
layers, with lids and lips that move with their own skin.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...errors import HubError, SuperFaceError
from ...face_model.coordinates import MIN_CROP, Square
from ...face_model.mesh_flow import warp
from ...face_model.topology import POINTS
from ...hub.model import HubMixin
from ...layers.motion import Window
from ...layers.portrait import PortraitLayers
from ..blocks import ZeroConv2d
from .configuration_student import SuperFaceStudentConfig
from .networks import DenseMotionNetwork, Generator, MotionEncoder, WindowPainter
from .outputs import CoarseMotion, PreparedStudent, StudentMotion, StudentOutput
from .prior import Prior, spread_out
from .seam_windows import SIZES, SeamWindow, feather
from .stored_layers import LAYER_FORMATS, PICTURE_FORMATS, LayerFiles, measured

# The largest side of a student's crop, in pixels.
LARGEST_CROP = 4096
# Limits of plausible landmarks in image coordinates of the crop: the distance from its middle, and the least size of a face.
FARTHEST, SMALLEST_FACE = 8.0, 0.02
# Units of the heads' outputs: flows in image units, shares of the way to other candidates, logits of what to keep, colours, and
# the matte. They are small, so that the first training steps do not degrade the layers.
FLOW_UNIT, WINDOW_FLOW_UNIT, MIXING_UNIT, KEEP_UNIT, PAINT_UNIT, ALPHA_UNIT = 0.02, 0.01, 0.3, 0.5, 0.1, 0.2
# How far the person may extend beyond the warped matte, in cells of 1/8 of the resolution.
GROWTH = 2


class SuperFaceStudentModel(HubMixin, PreTrainedModel):
    """The SuperFace student of one person. It stores its portrait, so it needs no picture.

    ``pipeline("talking-face", model=student)(audio="speech.wav")``
    """

    config_class = SuperFaceStudentConfig
    config: SuperFaceStudentConfig
    main_input_name = "driving_landmarks"
    texture: Tensor
    matte: Tensor
    appearance: Tensor
    landmark_bits: Tensor
    carriers: Tensor
    square: Tensor
    picture: Tensor
    colours: Tensor
    alpha: Tensor
    plate: Tensor

    def __init__(self, config: SuperFaceStudentConfig) -> None:
        super().__init__(config)
        size, channels = config.image_size, config.appearance_channels
        self.register_buffer("texture", torch.zeros(3, size // 2, size // 2, dtype=torch.uint8))
        self.register_buffer("matte", torch.zeros(1, size // 8, size // 8, dtype=torch.uint8))
        self.register_buffer("appearance", torch.zeros(channels, size // 8, size // 8))
        # float32 stored as integers, so that loading or casting the weights to a narrower type keeps coordinates exact.
        self.register_buffer("landmark_bits", torch.zeros(POINTS, 3, dtype=torch.int32))
        self.register_buffer("carriers", torch.zeros(config.prior_points, dtype=torch.int64))
        self.register_buffer("square", torch.zeros(3, dtype=torch.int64))
        for name in LayerFiles._fields:
            self.register_buffer(name, torch.zeros(getattr(config, f"{name}_bytes"), dtype=torch.uint8))
        self.motion_encoder = MotionEncoder(config)
        # Inputs: appearance and matte at rest, warped by the layers and by the rigid head; two flows; masks of skin and head.
        self.dense_motion = DenseMotionNetwork(3 * (channels + 1) + 6, config)
        self.generator = Generator(config)
        self.painters = nn.ModuleList(WindowPainter(config) for _ in SIZES)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ZeroConv2d):
            init.zeros_(module.weight)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            init.zeros_(module.bias)

    @torch.no_grad()
    def store(
        self, files: LayerFiles, square: Square, landmarks: np.ndarray, texture: Tensor, matte: Tensor,
        appearance: Tensor,
    ) -> None:  # fmt: skip
        """Store the portrait, its layers and the teacher's features.

        Args:
            files: the picture and its layers, with the lengths of the configuration.
            square: the crop around the face, in the picture.
            landmarks: (478, 3) float32 in image coordinates of the crop.
            texture, matte: (1, 3, S, S) and (1, 1, S, S): the person's colours and matte in the crop, in [0, 1].
            appearance: (1, A, S/8, S/8).
        """
        for name, file in zip(LayerFiles._fields, files, strict=True):
            getattr(self, name).copy_(torch.from_numpy(np.frombuffer(file, np.uint8).copy()))
        self.square.copy_(torch.tensor([int(square.left), int(square.top), int(square.side)]))
        self.landmark_bits.copy_(torch.from_numpy(np.ascontiguousarray(landmarks, np.float32).view(np.int32).copy()))
        self.carriers.copy_(spread_out(self.landmarks[:, :2], self.config.prior_points))
        self.texture.copy_(F.avg_pool2d(texture, 2)[0].mul(255).round())
        self.matte.copy_(F.avg_pool2d(matte, 8)[0].mul(255).round())
        self.appearance.copy_(appearance[0])

    @property
    def landmarks(self) -> Tensor:
        """The portrait's landmarks (478, 3) float32, in image coordinates of the crop."""
        return self.landmark_bits.view(torch.float32)

    @property
    def crop(self) -> Square:
        """The square around the face, in the full picture."""
        left, top, side = self.square.tolist()
        return Square(left, top, side)

    def full_picture(self) -> np.ndarray:
        """Return the portrait's picture (H, W, 3) uint8.

        Raises:
            SuperFaceError: no picture is stored.
        """
        return self.layers().picture

    def layers(self) -> PortraitLayers:
        """Return the picture and its layers.

        Raises:
            SuperFaceError: no picture is stored.
        """
        return self.layer_files().decoded()

    def layer_files(self) -> LayerFiles:
        """The files of the picture and its layers.

        Raises:
            SuperFaceError: none are stored.
        """
        if not len(self.picture):
            raise SuperFaceError("This student stores no portrait: make one with `superface distill`.")
        return self._files()

    def _files(self) -> LayerFiles:
        return LayerFiles(*(getattr(self, name).cpu().numpy().tobytes() for name in LayerFiles._fields))

    def check_stored(self) -> None:
        """Refuse a portrait that would need gigabytes, or from which no face can be rendered: students may be untrusted.

        Raises:
            HubError: picture, layers, square or landmarks are impossible.
        """
        if not len(self.picture):
            return
        files = self._files()
        width, height = measured(files.picture, PICTURE_FORMATS, "picture")
        for name in LayerFiles._fields[1:]:
            if measured(getattr(files, name), LAYER_FORMATS, name) != (width, height):
                raise HubError(f"This student's {name} and picture differ in size: it was not made or copied well.")
        left, top, side = self.square.tolist()
        touches = -side < left < width and -side < top < height
        if not (MIN_CROP <= side <= min(LARGEST_CROP, 3 * max(width, height)) and touches):
            raise HubError(
                f"This student's crop does not fit its picture: a square of {side} pixels at ({left}, {top}) in "
                f"{width} x {height}; at most {LARGEST_CROP} pixels can be rendered."
            )
        points, chosen = self.landmarks, self.carriers
        plausible = points.abs() <= FARTHEST  # False for NaN
        if not plausible.all() or float((points[:, :2].amax(0) - points[:, :2].amin(0)).min()) < SMALLEST_FACE:
            raise HubError("This student's landmarks are those of no face: it was not made or copied well.")
        if int(chosen.min()) < 0 or int(chosen.max()) >= POINTS:
            raise HubError(f"This student's carriers are no landmarks: they must be from 0 to {POINTS - 1}.")

    def prepare(self) -> PreparedStudent:
        """Compute everything that does not depend on the motion; keep the result for all frames."""
        appearance = torch.cat((self.appearance.float(), self.matte.float() / 255))[None]
        return PreparedStudent(
            self.texture[None].float() / 255,
            appearance,
            F.avg_pool2d(appearance, 2),
            Prior.of(self.landmarks[None], self.carriers),
        )

    def forward(self, driving_landmarks: Tensor, window: Window | None = None) -> StudentOutput:
        """Render meshes (B, 478, 3)."""
        return self.render(self.prepare(), driving_landmarks, window)

    def render(self, prepared: PreparedStudent, driving: Tensor, window: Window | None = None) -> StudentOutput:
        """Render a batch of driving meshes (B, 478, 3) in image coordinates of the portrait's crop.

        Call it under ``torch.inference_mode()`` unless gradients are needed.

        Args:
            prepared: the result of :meth:`prepare`.
            window: the position of each frame's window in the crop; the crop itself by default.
        """
        window = window or Window.same(driving)
        size = self.config.image_size
        with torch.autocast(driving.device.type, enabled=False):
            source = window.enter(prepared.prior.landmarks.expand(driving.shape[0], -1, -1))
            driving = window.enter(driving.float())
        coarse = self._coarse_motion(prepared, driving, window)
        with torch.autocast(driving.device.type, enabled=False):
            moved = moved_by(prepared.appearance, coarse.flow, window)
            near = near_person(moved[:, -1:])
            flow = _enlarged(coarse.flow, size // 2)
        brush = self.generator((moved * coarse.occlusion).to(coarse.features.dtype), coarse.features).float()
        strokes = []
        for index, painter in enumerate(self.painters):
            patch = SeamWindow.around(source, driving, index, size // 2)
            finer, stroke = self.paint_window(painter, patch, prepared, coarse.code, patch.cut(flow), window)
            patch.put(flow, finer)
            strokes.append((patch, stroke))
        with torch.autocast(driving.device.type, enabled=False):
            keep, paint, alpha_change = _painted(brush, near, strokes, size)
        motion = StudentMotion(flow, coarse.flow, coarse.occlusion)
        return StudentOutput(window, motion, keep, paint, alpha_change, coarse.code)

    def coarse_motion(self, prepared: PreparedStudent, driving: Tensor, window: Window) -> CoarseMotion:
        """Return the person's motion to meshes (B, 478, 3) of the crop, before the windows of mouth and eyes refine it."""
        return self._coarse_motion(prepared, window.enter(driving), window)

    def _coarse_motion(self, prepared: PreparedStudent, driving: Tensor, window: Window) -> CoarseMotion:
        with torch.autocast(driving.device.type, enabled=False):
            flows, places = prepared.prior.candidates(driving, window, self.config.image_size // 8)
        return self.refined(prepared, flows, places, driving, window)

    def refined(
        self, prepared: PreparedStudent, flows: Tensor, places: Tensor, driving: Tensor, window: Window
    ) -> CoarseMotion:
        """What the dense motion network makes of the prior's candidates; ``driving`` (B, 478, 3) is in the windows."""
        with torch.autocast(driving.device.type, enabled=False):
            seen = _look(prepared, flows, places, window)
        code = self.motion_encoder(prepared.prior.landmarks.expand(driving.shape[0], -1, -1), driving)
        features, head = self.dense_motion(seen.to(self.dtype), code)
        with torch.autocast(driving.device.type, enabled=False):
            # Smoothing: where neighbouring cells disagree, contours would be wavy.
            smooth = F.avg_pool2d(head.float(), 3, stride=1, padding=1, count_include_pad=False)
            mixing, residual, hiding = smooth.split((2, 2, 1), dim=1)
            others = flows[:, 1:] - flows[:, :1]
            flow = flows[:, 0] + MIXING_UNIT * (mixing[:, :, None] * others).sum(1) + FLOW_UNIT * residual
        return CoarseMotion(flow, torch.sigmoid(hiding + 2), features, code)

    def paint_window(
        self, painter: nn.Module, patch: SeamWindow, prepared: PreparedStudent, code: Tensor, around: Tensor, window: Window
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """A patch's own, finer flow (B, 2, h, w) where ``around`` (B, 2, h, w) is the coarse one, and what to keep and paint
        (B, 4, 2 h, 2 w)."""
        with torch.autocast(around.device.type, enabled=False):
            prior = torch.lerp(around, patch.flow, patch.beside)
            grid = window.centre[:, None, None] + window.scale[:, None, None, None] * (
                patch.grid + prior.permute(0, 2, 3, 1)
            )
            texture = prepared.texture.expand(around.shape[0], -1, -1, -1)
            pixels = F.grid_sample(texture, grid, padding_mode="border", align_corners=False)
        fine, painting = painter(patch.drawn, pixels, code)
        residual, gate = fine.float().split((2, 1), dim=1)
        finer = torch.lerp(around, patch.flow, patch.beside * (1 + MIXING_UNIT * gate)) + WINDOW_FLOW_UNIT * residual
        return torch.lerp(around, finer, feather(*finer.shape[2:]).to(finer)), painting.float()


def moved_by(maps: Tensor, flow: Tensor, window: Window) -> Tensor:
    """(1, C, s, s) of the crop as a flow (B, 2, s, s) in the windows brings them: (B, C, s, s)."""
    return warp(maps.expand(flow.shape[0], -1, -1, -1), window.leave(flow))


def _look(prepared: PreparedStudent, flows: Tensor, places: Tensor, window: Window) -> Tensor:
    """Return the input of the dense motion network, (B, 3 A + 9, S/16, S/16)."""
    coarse = F.avg_pool2d(flows.flatten(1, 2), 2)
    moved = [moved_by(prepared.coarse, flow, window) for flow in coarse.split(2, dim=1)]
    return torch.cat((*moved, 4 * coarse[:, :4], F.avg_pool2d(places, 2)), dim=1)


def near_person(alpha: Tensor) -> Tensor:
    """1 where a person is, smoothly to exactly 0 a little away from it: (B, 1, s, s) -> (B, 1, 2 s, 2 s)."""
    grown = F.max_pool2d(alpha, 2 * GROWTH + 1, stride=1, padding=GROWTH)
    smooth = F.avg_pool2d(grown, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(smooth, scale_factor=2.0, mode="bilinear", align_corners=False)


def _painted(
    brush: Tensor, near: Tensor, strokes: list[tuple[SeamWindow, Tensor]], size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept (B, 1, S, S) and painted (B, 3, S, S), and how the matte changes (B, 1, S, S): by the brush for the whole
    person (B, 5, S/4, S/4), and by finer strokes (B, 4, h, w) where mouth and eyes are."""
    changes = _enlarged(changes_of(brush, near), size)
    for patch, stroke in strokes:
        patch.put(changes, painted_over(patch.cut(changes, 2), stroke), 2)
    return changes[:, :1], changes[:, 1:4], changes[:, 4:]


def changes_of(brush: Tensor, near: Tensor) -> Tensor:
    """What the brush (B, 5, s, s) keeps and paints, and how it changes the matte near the person: (B, 5, s, s)."""
    keep, paint = _mixed(brush)
    return torch.cat((keep, paint, near * torch.tanh(ALPHA_UNIT * brush[:, 4:])), dim=1)


def painted_over(around: Tensor, stroke: Tensor) -> Tensor:
    """A finer stroke (B, 4, h, w) over what is there, both as what is kept, painted, and changed of the matte: (B, 5, h, w)."""
    keep, paint = _mixed(stroke)
    shade = feather(*stroke.shape[2:]).to(stroke)
    # Painted after the brush: keep * (keep * warped + paint) + paint.
    kept = 1 + shade * (keep - 1)
    return torch.cat((around[:, :4] * kept, around[:, 4:]), dim=1) + _beside(shade * paint)


def _beside(paint: Tensor) -> Tensor:
    """Pad a paint (B, 3, h, w) to changes of what is kept, of what is painted, and of the matte: (B, 5, h, w)."""
    return F.pad(paint, (0, 0, 0, 0, 1, 1))


def _mixed(brush: Tensor) -> tuple[Tensor, Tensor]:
    """Convert a head's output (B, >=4, s, s) to the mask of what is kept (B, 1, s, s) in [0, 2], and the paint (B, 3,
    s, s)."""
    return 2 * torch.sigmoid(KEEP_UNIT * brush[:, :1]), PAINT_UNIT * brush[:, 1:4]


def _enlarged(maps: Tensor, size: int) -> Tensor:
    """Resize (B, C, s, s) to (B, C, size, size). With few channels, planes in sequence are four times as fast as
    channels-last."""
    return F.interpolate(maps.contiguous(), size=(size, size), mode="bilinear", align_corners=False)


__all__ = ["LARGEST_CROP", "SuperFaceStudentModel"]
