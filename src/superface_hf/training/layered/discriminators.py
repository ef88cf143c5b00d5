"""Close views of a rendering, and the discriminators that judge them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data.layered.batches import LayeredBatch
from ...face_model.mesh_image import OPENING_CHANNELS, opening_image
from ...face_model.topology import EYE_CORNERS
from ...models.painters.windows import EYES, MOUTH, Region, RegionWindow
from ..losses.patch_discriminator import PatchDiscriminator, discriminator_loss, feature_matching, generator_loss

# A window on hair and ears, from the temples outwards; and one on the whole face.
HAIR = Region(EYE_CORNERS[[0]], (128, 128), 0.8)
FACE = Region(EYE_CORNERS, (224, 224), 1.9, lower=0.45)


@dataclass(eq=False)
class Views:
    """Windows in which a rendering is compared: rendered and wanted pictures, and a drawing of what they are to show."""

    frame: tuple[Tensor, Tensor, Tensor]
    face: tuple[Tensor, Tensor]
    mouth: tuple[Tensor, Tensor, Tensor]
    eyes: tuple[Tensor, Tensor, Tensor]
    hair: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, rendered: Tensor, batch: LayeredBatch, generator: torch.Generator) -> Views:
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
        """Return the views that have a discriminator, by its name."""
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
    """Return a window somewhere around the head, between ear and ear over the top, or at a shoulder."""
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


class Discriminators(nn.Module):
    """Judge whole frames, mouths, eyes and hair, each by a network of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = PatchDiscriminator(OPENING_CHANNELS, 48)
        self.mouth = PatchDiscriminator(OPENING_CHANNELS, 48)
        self.eyes = PatchDiscriminator(OPENING_CHANNELS, 32)
        self.hair = PatchDiscriminator(OPENING_CHANNELS, 48)

    def judge(self, views: Views, sharp: Tensor) -> dict[str, Tensor]:
        """Compute the renderer's adversarial loss, and the distance of its features from the real ones'."""
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
        """Return the discriminators' own loss."""
        losses = []
        for name, pictures in views.judged().items():
            rendered, wanted, drawn = _only(sharp, *(picture.detach() for picture in pictures))
            network = getattr(self, name)
            losses.append(discriminator_loss(network(wanted, drawn), network(rendered, drawn)))
        return torch.stack(losses).mean()


def _only(sharp: Tensor, *pictures: Tensor) -> tuple[Tensor, ...]:
    """Return the items of sharp footage, with twice as many eyes; all items, if none is sharp."""
    chosen = sharp.repeat(len(pictures[0]) // len(sharp)).nonzero()[:, 0]
    if not len(chosen):
        return pictures
    return tuple(picture[chosen] for picture in pictures)
