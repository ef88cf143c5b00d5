"""The teacher's training objective: what is compared with the target, where, and by how much it counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.pairs.drawing import Pair
from ...face_model.mesh_flow import warp
from ...face_model.mesh_image import opening_image
from ...face_model.topology import LEFT_EYE, LIPS, RIGHT_EYE
from ...models.teacher.modeling_teacher import TeacherOutput
from ...models.teacher.restorer import Restoration
from ..core.layout import channels_last
from ..losses.keypoint_consistency import KeypointConsistency
from ..losses.perceptual import perceptual_distance
from ..losses.pixels import bending, coarse_l2, coarse_warp_l1, flicker_l1, pyramid_l1, region_weights, resized, windows
from .config import LossWeights

# Sides of the windows that the perceptual distance looks at, in 32nds of the picture's side (the face's at half resolution).
FACE_WINDOW, MOUTH_WINDOW, EYE_WINDOW, HAIR_WINDOW = 14, 7, 5, 8
# Side in pixels of the windows in which restored sources are compared: as large as most of what is to be restored.
RESTORED_WINDOW = 224
# Weight of the error of telling degraded sources from clean ones.
FOUND_WEIGHT = 0.05
# Points of the face's edge at forehead and temples, and how much farther from its middle the windows of the hair are.
HAIRLINE, BEYOND = (10, 103, 332, 127, 356), 1.3
# Weight of warped pixels where the target shows no person.
OUTSIDE = 0.1
# The discriminator sees windows of which at least this share is known.
KNOWN = 0.99

# Rendered and wanted window (B', 3, s, s), and the drawing of how open mouth and eyes are there (B', 3, s, s).
CloseUp = tuple[Tensor, Tensor, Tensor]


@dataclass(eq=False)
class TeacherBatch(Pair):
    """Pairs on the training's device, in layers, some of their sources degraded; pictures are floats in [0, 1].

    Attributes:
        matte, target_matte: (B, 1, S, S) how much of each pixel is the person.
        plate: (B, 3, S, S) what lies behind the target's person.
        clean_source: (B, 3, S, S) the source before any degradation.
        degraded: (B,) bool.
        window: (B, 2) the middles, in image coordinates, of the windows in which restored sources are compared.
    """

    matte: Tensor
    target_matte: Tensor
    plate: Tensor
    clean_source: Tensor
    degraded: Tensor
    window: Tensor


class TeacherLoss:
    """The terms that compare a rendering with its target, each by its weight; a weight of 0 leaves its term out."""

    def __init__(self, weights: LossWeights, device: torch.device) -> None:
        self.weights = weights
        self.perceptual = self.keypoints = None
        if weights.perceptual:
            self.perceptual = channels_last(perceptual_distance(weights.perceptual_backbone).to(device))
        if weights.keypoints:
            from ...models.embedded import embedded_tracker

            self.keypoints = KeypointConsistency(embedded_tracker()).to(device)

    def __call__(
        self, output: TeacherOutput, frames: Tensor, batch: TeacherBatch, patches: list[CloseUp]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and its terms without gradients.

        Args:
            frames: (B, 3, S, S) what was rendered over the plates.
            patches: the :func:`close_ups` of the frames.
        """
        terms = {**self.pixel_terms(output, frames, batch), **self.motion_terms(output, batch)}
        if self.weights.restoration:
            terms["restoration"] = self.restoration(
                Restoration(output.source.image, output.source.need),
                batch.clean_source,
                batch.degraded,
                batch.window,
            )
        if self.perceptual is not None:
            terms["perceptual"] = self.perceived(frames, batch, patches)
        if self.keypoints is not None:
            some = slice(self.weights.keypoint_items)
            terms["keypoints"] = self.keypoints(
                frames[some], batch.target[some], batch.target_landmarks[some], batch.known[some]
            )
        loss = torch.stack([getattr(self.weights, name) * term.float() for name, term in terms.items()]).sum()
        return loss, {name: term.detach() for name, term in terms.items()}

    def pixel_terms(self, output: TeacherOutput, rendered: Tensor, batch: TeacherBatch) -> dict[str, Tensor]:
        """Return the losses of the frames, the warped person and the matte, against the target."""
        half = batch.target.shape[-1] // 2
        known = F.interpolate(batch.known, size=(half, half), mode="nearest")
        emphasis = region_weights(
            batch.target_landmarks, half, self.weights.region_emphasis, self.weights.opening_emphasis
        )
        weights = known * emphasis
        inside = OUTSIDE + (1 - OUTSIDE) * F.avg_pool2d(batch.target_matte, 2)
        frames, wanted = (F.avg_pool2d(x, 2) for x in (rendered, batch.target))
        terms = {
            "l1": pyramid_l1(frames, wanted, weights, levels=4),
            "warp": pyramid_l1(half_warped(output, batch), wanted, weights * inside, levels=1),
            "coarse": coarse_l2(frames, wanted, known, factor=4),
        }
        # Footage of half the resolution does not show the finest pixels.
        counted = batch.sharp[:, None, None, None] * F.interpolate(known, scale_factor=2.0, mode="nearest")
        terms["fine"] = ((rendered - batch.target).abs() * counted).mean()
        terms["matte"] = ((output.alpha - batch.target_matte).abs() * F.interpolate(known, scale_factor=2.0)).mean()
        if self.weights.temporal:
            terms["temporal"] = flicker_l1(frames, wanted, weights, batch.follows)
        return terms

    def motion_terms(self, output: TeacherOutput, batch: TeacherBatch) -> dict[str, Tensor]:
        """Return the losses of the flow, and of the masks that it works with."""
        size = batch.target.shape[-1]
        sizes = tuple(size // factor for factor in (16, 8, 4))
        person = F.avg_pool2d(batch.target_matte, size // batch.known.shape[-1])
        inside = batch.known * (OUTSIDE + (1 - OUTSIDE) * person)
        # The flow is the same however poor the picture is, and a clean one shows it better.
        terms = {
            "flow": coarse_warp_l1(batch.clean_source, output.rendered.flow, batch.target, inside, sizes),
        }
        if self.weights.occlusion:
            terms["occlusion"] = (1 - output.motion.occlusion).mean()
        if self.weights.smoothness:
            terms["smoothness"] = bending(output.motion.volume_flow.float())
        return terms

    def restoration(self, restored: Restoration, clean: Tensor, degraded: Tensor, centres: Tensor) -> Tensor:
        """Return the error of restored sources against the clean ones (B, 3, S, S), and of what was taken for ``degraded``
        (B,); by the weight of all perceptual distances, that of a window each (``centres`` (B, 2) in image coordinates)."""
        found = F.binary_cross_entropy_with_logits(restored.need, degraded.float())
        error = (restored.image - clean).abs().mean() + FOUND_WEIGHT * found
        if self.perceptual is not None:
            pictures = windows(centres, (restored.image, clean), min(RESTORED_WINDOW, clean.shape[-1]))
            error = error + self.weights.perceptual * self.perceptual(*pictures)
        return error

    def perceived(self, frames: Tensor, batch: TeacherBatch, patches: list[CloseUp]) -> Tensor:
        """Return the perceptual distance of the face at half the resolution, and of mouth, one eye and hair at full
        resolution."""
        assert self.perceptual is not None
        landmarks = batch.target_landmarks
        # Where the target is unknown, the rendering counts as right.
        target = torch.lerp(frames.detach(), batch.target, resized(batch.known, frames.shape[-1]))
        halves = (F.avg_pool2d(frames, 2), F.avg_pool2d(target, 2))
        total = self.perceptual(*windows(landmarks[..., :2].mean(1), halves, FACE_WINDOW * frames.shape[-1] // 32))
        for rendered, wanted, _ in patches:
            total = total + self.perceptual(rendered, wanted)
        return total


def half_warped(output: TeacherOutput, batch: TeacherBatch) -> Tensor:
    """Return the clean source's pixels after the flow, at half the resolution: (B, 3, S/2, S/2)."""
    warped = F.avg_pool2d(output.warped, 2)
    degraded = batch.degraded
    if not degraded.any():
        return warped
    clean = warp(F.avg_pool2d(batch.clean_source[degraded], 2), output.rendered.flow[degraded].float())
    return warped.index_put((degraded.nonzero()[:, 0],), clean.to(warped.dtype))


def close_ups(frames: Tensor, batch: TeacherBatch, generator: torch.Generator) -> list[CloseUp]:
    """Return the full-resolution windows at the mouth, at one eye and in the hair, of the items whose footage has that
    resolution and whose targets are known there. A window that no item has is left out; ``generator`` chooses the eye
    and the hair."""
    landmarks, size = batch.target_landmarks, frames.shape[-1]
    eye = (LEFT_EYE, RIGHT_EYE)[int(torch.randint(2, (), generator=generator))]
    hair = HAIRLINE[int(torch.randint(len(HAIRLINE), (), generator=generator))]
    middle = landmarks[..., :2].mean(1)
    places = (
        (landmarks[:, LIPS, :2].mean(1), MOUTH_WINDOW),
        (landmarks[:, eye, :2].mean(1), EYE_WINDOW),
        (middle + BEYOND * (landmarks[:, hair, :2] - middle), HAIR_WINDOW),
    )
    found = []
    for centres, share in places:
        known = windows(centres, (batch.known,), max(1, share * size // 32 // 8))[0]
        usable = batch.sharp & (known.mean((1, 2, 3)) >= KNOWN)
        if not usable.any():
            continue
        with torch.autocast(frames.device.type, enabled=False):
            openings = opening_image(landmarks[usable].float(), size // 2)
        pictures = (frames[usable], batch.target[usable], F.interpolate(openings, scale_factor=2.0))
        found.append(windows(centres[usable], pictures, share * size // 32))
    return found  # type: ignore[return-value]
