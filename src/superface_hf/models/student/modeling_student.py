"""The student: one person's face, rendered at a hundredth of the teacher's cost (SuperFace, figure 2's dashed lines).

It stores what the teacher delivers for one portrait, once: the portrait's pixels, its appearance feature, its landmarks, and
the picture that frames are pasted back into. What runs for each frame is small: the mesh flow of some landmarks, a 2D dense
motion network, a 2D generator, and finer windows at the mouth and at the eyes. Freshly initialised, the student *is* the mesh
flow, with lids and lips that move with their own skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...errors import HubError, MediaError, SuperFaceError
from ...face_model.mesh_flow import identity_grid, warp
from ...face_model.topology import POINTS
from ...geometry import MIN_CROP, Square
from ...hub.model import HubMixin
from ...media import load_picture, open_picture
from ..teacher.blocks import ZeroConv2d
from .configuration_student import SuperFaceStudentConfig
from .networks import DenseMotionNetwork, Generator, MotionEncoder, WindowPainter
from .prior import Prior, spread_out
from .seam_windows import SIZES, SeamWindow, feather

# What a student may store: a picture of so many pixels, of these kinds, with a crop of so many pixels on a side (pasting back
# takes 0.12 kB for each of its pixels).
LARGEST_PICTURE, PICTURE_FORMATS = 25_000_000, ("PNG", "JPEG")
LARGEST_CROP = 4096
# A face's landmarks, in image coordinates of the crop: how far from its middle, and how small, they cannot be.
FARTHEST, SMALLEST_FACE = 8.0, 0.02
# Units of what the heads give: flows in image units, shares of the way to other candidates, logits of what to keep, colours.
# Small ones keep the first steps of a training from leaving the mesh flow for worse.
FLOW_UNIT, WINDOW_FLOW_UNIT, MIXING_UNIT, KEEP_UNIT, PAINT_UNIT = 0.02, 0.01, 0.3, 0.5, 0.1


@dataclass(frozen=True, eq=False)
class PreparedStudent:
    """What is computed once from what the student stores.

    Attributes:
        texture: (1, 3, S, S) the portrait in [0, 1].
        half: (1, 3, S/2, S/2) the same, half as fine.
        appearance, coarse: the appearance feature (1, A, S/8, S/8), and half as fine.
        grid: (1, 2, S, S) where each pixel is.
        prior: the landmarks and what they imply.
    """

    texture: Tensor
    half: Tensor
    appearance: Tensor
    coarse: Tensor
    grid: Tensor
    prior: Prior


@dataclass(frozen=True, eq=False)
class CoarseMotion:
    """What the dense motion network gives.

    ``flow`` (B, 2, S/8, S/8): backward displacement of the pixels in image units; ``occlusion`` (B, 1, S/8, S/8) in [0, 1], 1
    where the portrait shows the place; ``features`` (B, width, S/16, S/16) for the generator; ``code`` (B, code) is p.
    """

    flow: Tensor
    occlusion: Tensor
    features: Tensor
    code: Tensor


@dataclass(frozen=True, eq=False)
class StudentMotion:
    """``flow`` (B, 2, S/2, S/2): backward displacement of the pixels in image units; ``coarse`` (B, 2, S/8, S/8): before the
    windows of mouth and eyes; ``occlusion`` (B, 1, S/8, S/8) in [0, 1], 1 where the portrait shows the place."""

    flow: Tensor
    coarse: Tensor
    occlusion: Tensor


@dataclass(frozen=True, eq=False)
class StudentOutput:
    """Frames (B, 3, S, S) in [0, 1] and how they came about: ``keep * warped + painted``.

    ``warped`` are the portrait's own pixels after the flow, ``code`` (B, code) is p.
    """

    frames: Tensor
    warped: Tensor
    motion: StudentMotion
    code: Tensor


class SuperFaceStudentModel(HubMixin, PreTrainedModel):
    """The SuperFace student of one person. It needs no portrait: it brings one.

    ``pipeline("talking-face", model=student)(audio="speech.wav")``
    """

    config_class = SuperFaceStudentConfig
    config: SuperFaceStudentConfig
    main_input_name = "driving_landmarks"
    texture: Tensor
    appearance: Tensor
    landmark_bits: Tensor
    carriers: Tensor
    square: Tensor
    picture: Tensor

    def __init__(self, config: SuperFaceStudentConfig) -> None:
        super().__init__(config)
        size, channels = config.image_size, config.appearance_channels
        self.register_buffer("texture", torch.zeros(3, size, size, dtype=torch.uint8))
        self.register_buffer("appearance", torch.zeros(channels, size // 8, size // 8))
        # float32 as integers: whoever loads or casts the weights to a narrower type leaves coordinates as they are.
        self.register_buffer("landmark_bits", torch.zeros(POINTS, 3, dtype=torch.int32))
        self.register_buffer("carriers", torch.zeros(config.prior_points, dtype=torch.int64))
        self.register_buffer("square", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("picture", torch.zeros(config.picture_bytes, dtype=torch.uint8))
        self.motion_encoder = MotionEncoder(config)
        # The appearance at rest, moved by the mesh and by the rigid head; two flows, and the mesh's fade.
        self.dense_motion = DenseMotionNetwork(3 * channels + 5, config)
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
    def store(self, picture: bytes, square: Square, landmarks: np.ndarray, texture: Tensor, appearance: Tensor) -> None:
        """Takes in what is delivered for the portrait.

        Args:
            picture: the full picture as a file, ``config.picture_bytes`` long.
            square: the crop that the student renders, in the picture.
            landmarks: (478, 3) float32 in image coordinates of the crop.
            texture: (1, 3, S, S) the crop in [0, 1].
            appearance: (1, A, S/8, S/8).
        """
        self.picture.copy_(torch.from_numpy(np.frombuffer(picture, np.uint8).copy()))
        self.square.copy_(torch.tensor([int(square.left), int(square.top), int(square.side)]))
        self.landmark_bits.copy_(torch.from_numpy(np.ascontiguousarray(landmarks, np.float32).view(np.int32).copy()))
        self.carriers.copy_(spread_out(self.landmarks[:, :2], self.config.prior_points))
        self.texture.copy_(texture[0].mul(255).round())
        self.appearance.copy_(appearance[0])

    @property
    def landmarks(self) -> Tensor:
        """(478, 3) float32: the portrait's, in image coordinates of the crop."""
        return self.landmark_bits.view(torch.float32)

    @property
    def crop(self) -> Square:
        """Where the rendered square lies in the full picture."""
        left, top, side = self.square.tolist()
        return Square(left, top, side)

    def full_picture(self) -> np.ndarray:
        """The picture that frames are pasted back into: (H, W, 3) uint8.

        Raises:
            SuperFaceError: none is stored.
        """
        if not len(self.picture):
            raise SuperFaceError("This student stores no portrait: make one with `superface distill`.")
        return load_picture(self._picture_file()[0])

    def check_stored(self) -> None:
        """Refuses a portrait that would take gigabytes, or that no face can be rendered from: students come from strangers.

        Raises:
            SuperFaceError: picture, square or landmarks cannot be.
        """
        if not len(self.picture):
            return
        _, width, height = self._picture_file()
        left, top, side = self.square.tolist()
        touches = -side < left < width and -side < top < height
        if not (MIN_CROP <= side <= min(LARGEST_CROP, 3 * max(width, height)) and touches):
            raise HubError(
                f"This student's crop does not fit its picture: a square of {side} pixels at ({left}, {top}) in "
                f"{width} x {height}; at most {LARGEST_CROP} pixels can be rendered."
            )
        points, chosen = self.landmarks, self.carriers
        plausible = points.abs() <= FARTHEST  # NaN is not
        if not plausible.all() or float((points[:, :2].amax(0) - points[:, :2].amin(0)).min()) < SMALLEST_FACE:
            raise HubError("This student's landmarks are those of no face: it was not made or copied well.")
        if int(chosen.min()) < 0 or int(chosen.max()) >= POINTS:
            raise HubError(f"This student's carriers are no landmarks: they must be from 0 to {POINTS - 1}.")

    def _picture_file(self) -> tuple[bytes, int, int]:
        """The stored picture as a file, its width and its height; its pixels have not been decoded.

        Raises:
            HubError: it is not of a kind and size that a student stores.
        """
        file = self.picture.cpu().numpy().tobytes()
        try:
            with open_picture(file, PICTURE_FORMATS, LARGEST_PICTURE) as image:
                return file, image.width, image.height
        except MediaError as error:
            raise HubError(f"This student's picture cannot be used (PNG and JPEG can): {error}") from error

    def prepare(self) -> PreparedStudent:
        """What does not depend on the motion; keep it for all frames."""
        texture = self.texture[None].float() / 255
        appearance = self.appearance[None].float()
        return PreparedStudent(
            texture,
            F.avg_pool2d(texture, 2),
            appearance,
            F.avg_pool2d(appearance, 2),
            identity_grid(self.config.image_size, texture).permute(0, 3, 1, 2).contiguous(),
            Prior.of(self.landmarks[None], self.carriers),
        )

    def forward(self, driving_landmarks: Tensor) -> StudentOutput:
        """Renders meshes (B, 478, 3)."""
        return self.render(self.prepare(), driving_landmarks)

    def render(self, prepared: PreparedStudent, driving: Tensor) -> StudentOutput:
        """Renders a batch of driving meshes (B, 478, 3) in image coordinates.

        Call it under ``torch.inference_mode()`` where no gradient is wanted.
        """
        driving = driving.float()
        batch, size = len(driving), self.config.image_size
        coarse = self.coarse_motion(prepared, driving)
        with torch.autocast(driving.device.type, enabled=False):
            moved = warp(prepared.appearance.expand(batch, -1, -1, -1), coarse.flow) * coarse.occlusion
            flow = _enlarged(coarse.flow, size // 2)
        brush = self.generator(moved.to(coarse.features.dtype), coarse.features).float()
        source = prepared.prior.landmarks.expand(batch, -1, -1)
        strokes = []
        for index, painter in enumerate(self.painters):
            window = SeamWindow.around(source, driving, index, size // 2)
            strokes.append((window, self._paint_window(painter, window, prepared, coarse.code, flow)))
        with torch.autocast(driving.device.type, enabled=False):
            texture = prepared.texture.expand(batch, -1, -1, -1)
            grid = (prepared.grid + _enlarged(flow, size)).permute(0, 2, 3, 1)
            warped = F.grid_sample(texture, grid, self.config.sampling, padding_mode="border", align_corners=False)
            frames = _painted(warped, brush, strokes)
        return StudentOutput(frames, warped, StudentMotion(flow, coarse.flow, coarse.occlusion), coarse.code)

    def coarse_motion(self, prepared: PreparedStudent, driving: Tensor) -> CoarseMotion:
        """How the picture moves for meshes (B, 478, 3) float32, before the windows of mouth and eyes refine it."""
        with torch.autocast(driving.device.type, enabled=False):
            flows, fade = prepared.prior.candidates(driving, self.config.image_size // 8)
            seen = _look(prepared, flows, fade)
        code = self.motion_encoder(prepared.prior.landmarks.expand(len(driving), -1, -1), driving)
        features, head = self.dense_motion(seen.to(self.dtype), code)
        with torch.autocast(driving.device.type, enabled=False):
            # Contours would be wavy where neighbouring cells disagree: what is added to the candidates is smooth.
            smooth = F.avg_pool2d(head.float(), 3, stride=1, padding=1, count_include_pad=False)
            mixing, residual, hiding = smooth.split((2, 2, 1), dim=1)
            others = flows[:, 1:] - flows[:, :1]
            flow = flows[:, 0] + MIXING_UNIT * (mixing[:, :, None] * others).sum(1) + FLOW_UNIT * residual
        return CoarseMotion(flow, torch.sigmoid(hiding + 2), features, code)

    def _paint_window(
        self, painter: nn.Module, window: SeamWindow, prepared: PreparedStudent, code: Tensor, flow: Tensor
    ) -> Tensor:
        """Gives ``flow`` (B, 2, S/2, S/2) its finer form in the window, in place; what to keep and paint, (B, 4, 2 h, 2 w)."""
        with torch.autocast(flow.device.type, enabled=False):
            around = window.cut(flow)
            prior = torch.lerp(around, window.flow, window.beside)
            grid = window.grid + prior.permute(0, 2, 3, 1)
            half = prepared.half.expand(len(flow), -1, -1, -1)
            pixels = F.grid_sample(half, grid, padding_mode="border", align_corners=False)
        fine, painting = painter(window.drawn, pixels, code)
        residual, gate = fine.float().split((2, 1), dim=1)
        finer = torch.lerp(around, window.flow, window.beside * (1 + MIXING_UNIT * gate)) + WINDOW_FLOW_UNIT * residual
        window.put(flow, torch.lerp(around, finer, feather(*finer.shape[2:]).to(finer)))
        return painting.float()


def _look(prepared: PreparedStudent, flows: Tensor, fade: Tensor) -> Tensor:
    """What the dense motion network sees: (B, 3 A + 5, S/16, S/16)."""
    coarse = F.avg_pool2d(flows[:, :2].flatten(1, 2), 2)
    appearance = prepared.coarse.expand(len(flows), -1, -1, -1)
    moved = [warp(appearance, coarse[:, 2 * i : 2 * i + 2]) for i in range(2)]
    return torch.cat((appearance, *moved, 4 * coarse, F.avg_pool2d(fade, 2)), dim=1)


def _painted(warped: Tensor, brush: Tensor, strokes: list[tuple[SeamWindow, Tensor]]) -> Tensor:
    """Paints the whole picture (B, 4, S/4, S/4) and the windows (B, 4, h, w) on the warped pixels (B, 3, S, S)."""
    keep, paint = _mixed(brush)
    broad = _enlarged(torch.cat((keep, paint), dim=1), warped.shape[-1])
    frames = torch.addcmul(broad[:, 1:], warped, broad[:, :1])
    for window, stroke in strokes:
        keep, paint = _mixed(stroke)
        around = window.cut(frames, 2)
        shade = feather(*stroke.shape[2:]).to(stroke)
        window.put(frames, torch.lerp(around, torch.addcmul(paint, around, keep), shade), 2)
    return frames.clamp(0, 1)


def _mixed(brush: Tensor) -> tuple[Tensor, Tensor]:
    """What a head gives (B, 4, s, s) -> the mask of what is kept (B, 1, s, s) in [0, 2], and the paint (B, 3, s, s)."""
    return 2 * torch.sigmoid(KEEP_UNIT * brush[:, :1]), PAINT_UNIT * brush[:, 1:]


def _enlarged(maps: Tensor, size: int) -> Tensor:
    """(B, C, s, s) -> (B, C, size, size). Of few channels, plane by plane is four times as fast as pixel by pixel."""
    return F.interpolate(maps.contiguous(), size=(size, size), mode="bilinear", align_corners=False)


__all__ = ["PreparedStudent", "StudentOutput", "SuperFaceStudentModel"]
