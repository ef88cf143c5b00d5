"""The loss of a student, against its teacher and the person's own video."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import warp
from ...face_model.topology import LEFT_EYE, LIPS, RIGHT_EYE
from ...layers.motion import Window
from ...models.student.outputs import CoarseMotion, StudentOutput
from ..losses.pixels import pyramid_l1, region_weights, windows
from .config import StudentLossWeights
from .data import StudentBatch
from .scene import Scene

FLOW_SHARE = 0.7  # of the time, after which the flow is the student's own affair
FLOOR = 1e-5  # 50 dB are enough
FLOW_FLOOR = 0.1  # pixels: smaller errors of the flow are not pursued
NOBODY = 0.05  # how much a place counts where no person is
LEAST_STEEP = 0.3  # how much a place without texture counts, against the mean
WINDOW = 4  # the side of perceptual windows is this part of the picture's


def log_squared(frames: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over frames of the logarithm (to ten) of each one's mean squared error, which is a tenth of minus its
    PSNR.

    Heads that turn far have a hundred times the error of a face that speaks; without the logarithm they alone would count.
    """
    errors = ((frames - target).square() * weights).flatten(1).mean(1) / weights.flatten(1).mean(1)
    return torch.log10(errors + FLOOR).mean()


class Delivery(nn.Module):
    """The error with which the teacher's p_d (B, C) follows linearly from the student's p (B, code); not part of the
    student."""

    mean: Tensor
    std: Tensor

    def __init__(self, code_channels: int, codes: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(code_channels, codes.shape[1])
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("std", codes.std(0).clamp_min(1e-3))

    def forward(self, code: Tensor, delivered: Tensor) -> Tensor:
        return F.mse_loss(self.linear(code.float()), (delivered - self.mean) / self.std)


def steepness(texture: Tensor, size: int) -> Tensor:
    """Return the sensitivity of a picture (1, 3, S, S) to displacement, to the right and downwards: (1, 2, size, size), of
    mean 1."""
    across = F.pad((texture[..., 1:] - texture[..., :-1]).square().sum(1, keepdim=True), (0, 1))
    down = F.pad((texture[..., 1:, :] - texture[..., :-1, :]).square().sum(1, keepdim=True), (0, 0, 0, 1))
    steep = F.adaptive_avg_pool2d(torch.cat((across, down), dim=1), size)
    steep = F.avg_pool2d(steep, 3, 1, 1, count_include_pad=False)
    return (steep / steep.mean().clamp_min(1e-8) + LEAST_STEEP) / (1 + LEAST_STEEP)


class MotionLoss:
    """The loss of the motion alone: the teacher's flow and its p_d.

    An error of the flow counts by what it does to the picture: little where the portrait is of one colour, and hardly where
    nobody is.

    Args:
        scene: the portrait.
        delivery: of the student's p.
    """

    def __init__(self, scene: Scene, weights: StudentLossWeights, delivery: nn.Module) -> None:
        self.weights, self.delivery = weights, delivery
        size = scene.texture.shape[-1]
        self._pixels = size / 2
        person = F.max_pool2d(F.avg_pool2d(scene.matte, 8), 3, 1, 1)
        self._importance = steepness(scene.texture, size // 8) * (NOBODY + (1 - NOBODY) * person)

    def __call__(self, motion: CoarseMotion, flow: Tensor, codes: Tensor, window: Window) -> dict[str, Tensor]:
        """Return the loss on the student's flow (B, 2, S/8, S/8) and code (B, C), as "loss", and its terms."""
        with torch.no_grad():
            place = warp(self._importance.expand(len(flow), -1, -1, -1), window.leave(flow))
        error = (motion.flow - flow) * self._pixels
        terms = {
            "flow": ((error.square() * place).sum(1) + FLOW_FLOOR**2).sqrt().mean(),
            "code": self.delivery(motion.code, codes),
        }
        terms["loss"] = terms["flow"] + self.weights.code * terms["code"]
        return terms


class StudentLoss:
    """All terms of the loss, by name."""

    def __init__(
        self, scene: Scene, weights: StudentLossWeights, delivery: nn.Module, perceptual: nn.Module | None
    ) -> None:
        self.scene, self.weights, self.delivery, self.perceptual = scene, weights, delivery, perceptual
        self._turn = 0

    def __call__(self, model: nn.Module, batch: StudentBatch, share: float) -> dict[str, Tensor]:
        """Return the loss, as "loss", and its terms, at a ``share`` of the training that has passed."""
        weights = self.weights
        window = Window(batch.windows[:, :2], batch.windows[:, 2])
        output: StudentOutput = model(batch.landmarks, window)
        landmarks = window.enter(batch.landmarks)
        frames, alpha = self.scene.compose(output.rendered)
        target, size = batch.target.float() / 255, frames.shape[-1]
        places = region_weights(landmarks, size // 4, weights.emphasis, weights.opening_emphasis)
        places = F.interpolate(places, size=(size, size), mode="bilinear", align_corners=False)
        terms = {
            "pixel": pyramid_l1(frames, target, places, 2),
            "decibels": log_squared(frames, target, places),
            "alpha": (F.avg_pool2d(alpha, 4) - batch.alpha.float() / 255).abs().mean(),
            "code": self.delivery(output.code, batch.codes),
        }
        if share < FLOW_SHARE:
            person = F.avg_pool2d(batch.alpha.float() / 255, 2)
            delivered = (output.motion.coarse - batch.flow.float()).abs()
            terms["flow"] = (1 - share / FLOW_SHARE) * (delivered * person).mean()
        if weights.perceptual and self.perceptual is not None:
            terms["perceptual"] = self._perceived(frames, target, landmarks)
        if batch.real is not None and batch.real_landmarks is not None:
            real, _ = self.scene.compose(model(batch.real_landmarks).rendered)
            terms["real"] = self._realness(real, batch.real.float() / 255, batch.real_landmarks)
        terms["loss"] = sum((getattr(weights, name) * value for name, value in terms.items()), target.new_zeros(()))
        return terms

    def _perceived(self, frames: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        assert self.perceptual is not None
        # Mouths and eyes in turn: the network costs as much as the student.
        self._turn += 1
        part = (LIPS, np.concatenate([LEFT_EYE, RIGHT_EYE]))[self._turn % 2]
        return self.perceptual(*windows(landmarks[:, part, :2].mean(1), (frames, target), frames.shape[-1] // WINDOW))

    def _realness(self, frames: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        """Return the loss on own footage, whose light is another: each window's colours are brought to the rendered ones
        first."""
        assert self.perceptual is not None
        total = frames.new_zeros(())
        for part in (LIPS, LEFT_EYE, RIGHT_EYE):
            rendered, wanted = windows(landmarks[:, part, :2].mean(1), (frames, target), frames.shape[-1] // WINDOW)
            with torch.no_grad():
                (mean, std), (own_mean, own_std) = (
                    (x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)) for x in (rendered, wanted)
                )
                wanted = ((wanted - own_mean) * (std / own_std.clamp_min(1e-3)) + mean).clamp(0, 1)
            total = total + (rendered - wanted).abs().mean() + 0.1 * self.perceptual(rendered, wanted)
        return total
