"""The loss of the layered teacher: pixels, perceptual distance, flow, the strength of fine detail, and expressions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.layered.batches import LayeredBatch
from ...data.mattes import grown
from ...models.teacher.modeling_teacher import TeacherOutput
from ...utils.settings import number
from ..losses.perceptual import PerceptualDistance
from ..losses.pixels import coarse_warp_l1, pyramid_l1, region_weights
from .discriminators import Views

# How strongly lips and eyes count in the pixels' error, and the inside of open mouths and eyes.
REGION_EMPHASIS, OPENING_EMPHASIS = 4.0, 8.0
# Pixels of a window in which the strength of detail is compared, and detail that is too weak to be seen (of 1).
TEXTURE_WINDOW, TEXTURE_FLOOR = 16, 0.002


@dataclass(frozen=True)
class LossWeights:
    """By how much each term counts; ``adversarial`` and ``matching`` are switched on over time.

    Attributes:
        pixels, fine: the error at four scales from half the resolution down, and at full resolution.
        flow: the error of small copies of the source after the flow.
        texture: how far the strength of the finest detail is off.
        alpha: the error of where the person ends.
        occlusion: the pull toward using what the source shows.
        perceptual: the perceptual distance of whole frames, faces, mouths and eyes.
        expression: what the tracker's refiners read of mouth, brows and eyes.
        adversarial, matching: the discriminators' judgement, and the match of their features.
    """

    pixels: float = number(4.0, low=0)
    fine: float = number(2.0, low=0)
    flow: float = number(3.0, low=0)
    texture: float = number(0.4, low=0)
    alpha: float = number(1.0, low=0)
    occlusion: float = number(0.01, low=0)
    perceptual: float = number(0.15, low=0)
    expression: float = number(0.3, low=0)
    adversarial: float = number(0.03, low=0)
    matching: float = number(1.0, low=0)


def fidelity(
    output: TeacherOutput, rendered: Tensor, batch: LayeredBatch, perceptual: PerceptualDistance
) -> dict[str, Tensor]:
    """Return the terms that compare whole frames with their targets; :func:`closely` gives those of close views."""
    wanted = batch.target
    meshes = batch.window.enter(batch.driving)
    size = wanted.shape[-1]
    weights = region_weights(meshes, size // 2, REGION_EMPHASIS, OPENING_EMPHASIS)
    inside = grown(batch.target_matte) * batch.known
    clean = batch.source.repeat_interleave(len(wanted) // len(batch.source), 0)
    flow = batch.window.leave(output.rendered.flow)
    return {
        "pixels": pyramid_l1(F.avg_pool2d(rendered, 2), F.avg_pool2d(wanted, 2), weights, levels=4),
        "fine": ((rendered - wanted).abs() * batch.sharp[:, None, None, None]).mean(),
        "texture": texture_distance(rendered, wanted, inside),
        "flow": coarse_warp_l1(clean, flow, wanted, inside, (size // 16, size // 8, size // 4)),
        "alpha": ((output.alpha - batch.target_matte) * batch.known).abs().mean()
        + 0.1 * output.rendered.alpha_change.abs().mean(),
        "occlusion": (1 - output.motion.occlusion).mean(),
        # The whole frame counts twice: it is what a person sees first.
        "perceptual": 2 * perceptual(rendered, wanted),
    }


def texture_distance(rendered: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
    """Compare the strength of the finest detail with the wanted one, in windows of 16 pixels, as logarithms.

    Pixels that lie a little beside the true ones are blurred by every loss that compares pixel with pixel: a sharp hair in the
    wrong place costs twice as much as none. This one asks how much detail there is, and not where. Pictures
    (B, 3, S, S) in [0, 1]; only ``where`` (B, 1, S, S) counts.
    """
    sharp, true = (_detail(picture).clamp_min(0) for picture in (rendered, wanted))
    share = F.avg_pool2d(where, TEXTURE_WINDOW, TEXTURE_WINDOW // 2)
    apart = ((sharp + TEXTURE_FLOOR).log() - (true + TEXTURE_FLOOR).log()).abs()
    return (apart * share).sum() / share.sum().clamp_min(1.0)


def _detail(picture: Tensor) -> Tensor:
    light = picture.mean(1, keepdim=True)
    around = F.avg_pool2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return F.avg_pool2d((light - around).abs(), TEXTURE_WINDOW, TEXTURE_WINDOW // 2)


def closely(views: Views, perceptual: PerceptualDistance) -> Tensor:
    """Return the perceptual distance of face, mouth and eyes."""
    return torch.stack([perceptual(*pair) for pair in (views.face, views.mouth[:2], views.eyes[:2])]).sum()
