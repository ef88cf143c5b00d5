"""Who judges a rendering: pixels, a pretrained network, and discriminators of whole frames, mouths, eyes and hair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.layered.batches import Batch
from ...data.mattes import grown
from ...face_model.mesh_image import OPENING_CHANNELS, opening_image
from ...face_model.topology import EYE_CORNERS
from ...models.painters.windows import EYES, MOUTH, Region, RegionWindow
from ...models.teacher.modeling_teacher import TeacherOutput
from ..losses.adversarial import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss
from ..losses.perceptual import PerceptualDistance
from ..losses.pixels import coarse_warp_l1, pyramid_l1, region_weights

# A window on hair and ears, from the temples outwards; and one on the whole face.
HAIR = Region(EYE_CORNERS[[0]], (128, 128), 0.8)
FACE = Region(EYE_CORNERS, (224, 224), 1.9, lower=0.45)
# How strongly lips and eyes count in the pixels' error, and the inside of open mouths and eyes.
REGION_EMPHASIS, OPENING_EMPHASIS = 4.0, 8.0
# Pixels of a window in which the strength of detail is compared, and detail that nobody sees (of 1).
TEXTURE_WINDOW, TEXTURE_FLOOR = 16, 0.002


@dataclass(frozen=True)
class Weights:
    """By how much each term counts; ``adversarial`` and ``matching`` are switched on over time."""

    pixels: float = 4.0
    fine: float = 2.0
    flow: float = 3.0
    texture: float = 0.4
    alpha: float = 1.0
    occlusion: float = 0.01
    perceptual: float = 0.15
    adversarial: float = 0.03
    matching: float = 1.0


@dataclass(eq=False)
class Views:
    """What the judges look at: pairs of rendered and wanted pictures, with a drawing of what they are to show."""

    frame: tuple[Tensor, Tensor, Tensor]
    face: tuple[Tensor, Tensor]
    mouth: tuple[Tensor, Tensor, Tensor]
    eyes: tuple[Tensor, Tensor, Tensor]
    hair: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, rendered: Tensor, batch: Batch, generator: torch.Generator) -> Views:
        meshes = batch.window.enter(batch.driving)
        wanted = batch.target
        openings = opening_image(meshes, rendered.shape[-1] // 4)
        halves = F.avg_pool2d(rendered, 2), F.avg_pool2d(wanted, 2)
        frame = (*halves, F.interpolate(openings, scale_factor=2.0))
        face = RegionWindow.around(meshes, FACE)
        mouth = _view(rendered, wanted, meshes, MOUTH)
        left, right = (_view(rendered, wanted, meshes, eye) for eye in EYES)
        eyes = tuple(torch.cat(pair) for pair in zip(left, right, strict=True))
        hair = _hair(rendered, wanted, meshes, generator)
        return cls(frame, (face.cut(rendered), face.cut(wanted)), mouth, eyes, hair)  # type: ignore[arg-type]

    def judged(self) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """What has a discriminator of its own."""
        return {"frame": self.frame, "mouth": self.mouth, "eyes": self.eyes, "hair": self.hair}


def _view(rendered: Tensor, wanted: Tensor, meshes: Tensor, region: Region) -> tuple[Tensor, Tensor, Tensor]:
    window = RegionWindow.around(meshes, region)
    height, width = region.size
    drawn = opening_image(window.enter(meshes), width)
    top = (width - height) // 2
    return window.cut(rendered), window.cut(wanted), drawn[:, :, top : top + height]


def _hair(
    rendered: Tensor, wanted: Tensor, meshes: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A window somewhere around the head, between ear and ear over the top, or at a shoulder."""
    base = RegionWindow.around(meshes, FACE)
    angle = torch.rand(len(meshes), generator=generator).mul(4.6).sub(0.7).to(meshes.device)
    reach = 1.05 * base.across.norm(dim=-1, keepdim=True)
    across, down = F.normalize(base.across, dim=-1), F.normalize(base.down, dim=-1)
    centre = base.centre + reach * (angle.cos()[:, None] * across - angle.sin()[:, None] * down)
    half = 0.42 * reach
    window = RegionWindow(centre.clamp(-0.85, 0.85), half * across, half * down, HAIR.size)
    height, width = HAIR.size
    nothing = rendered.new_zeros(len(rendered), OPENING_CHANNELS, height, width)
    return window.cut(rendered), window.cut(wanted), nothing


class Judges(nn.Module):
    """The discriminators."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = PatchDiscriminator(OPENING_CHANNELS, 48)
        self.mouth = PatchDiscriminator(OPENING_CHANNELS, 48)
        self.eyes = PatchDiscriminator(OPENING_CHANNELS, 32)
        self.hair = PatchDiscriminator(OPENING_CHANNELS, 48)

    def judge(self, views: Views, sharp: Tensor) -> dict[str, Tensor]:
        """How far rendered pictures are from passing as real, and how far their features are from the real ones'."""
        passing, matching = [], []
        for name, (rendered, wanted, drawn) in views.judged().items():
            rendered, wanted, drawn = _only(sharp, rendered, wanted, drawn)
            network = getattr(self, name)
            fake = network(rendered, drawn)
            with torch.no_grad():
                real = network(wanted, drawn)
            passing.append(generator_loss(fake))
            matching.append(feature_matching(real, fake))
        return {"adversarial": torch.stack(passing).mean(), "matching": torch.stack(matching).mean()}

    def learn(self, views: Views, sharp: Tensor) -> Tensor:
        """The discriminators' own loss."""
        losses = []
        for name, pictures in views.judged().items():
            rendered, wanted, drawn = _only(sharp, *(picture.detach() for picture in pictures))
            network = getattr(self, name)
            losses.append(discriminator_loss(network(wanted, drawn), network(rendered, drawn)))
        return torch.stack(losses).mean()


def _only(sharp: Tensor, *pictures: Tensor) -> tuple[Tensor, ...]:
    """Those of sharp footage; eyes come twice as many. All, if none is."""
    chosen = sharp.repeat(len(pictures[0]) // len(sharp)).nonzero()[:, 0]
    if not len(chosen):
        return pictures
    return tuple(picture[chosen] for picture in pictures)


def fidelity(
    output: TeacherOutput, rendered: Tensor, batch: Batch, perceptual: PerceptualDistance
) -> dict[str, Tensor]:
    """The terms that compare with the target, but for close views."""
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
    """How far the strength of the finest detail is from the wanted one, in windows of 16 pixels, as a logarithm.

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
    """Perceptual distance of face, mouth and eyes."""
    return torch.stack([perceptual(*pair) for pair in (views.face, views.mouth[:2], views.eyes[:2])]).sum()
