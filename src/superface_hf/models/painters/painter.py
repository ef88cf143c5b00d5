"""The network that paints one region, mouth or eye, in its own window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_image import MESH_CHANNELS, OPENING_CHANNELS, mesh_image, opening_image
from ..blocks import ResidualBlock, ZeroConv2d, conv, upsample
from .windows import Region, RegionWindow, feather

# Folds of skin darken or lighten what is shown by at most so many powers of two.
MOST_LIGHT = 1.0

# Input channels: the rendered region and the portrait's own, the driving mesh, and the openings of both meshes.
INPUT_CHANNELS = 2 * 12 + MESH_CHANNELS + 2 * OPENING_CHANNELS


class RegionPainter(nn.Module):
    """Paints the inside of lips or lids, their rims, and the folds around them. Its inputs are the region rendered so
    far, the portrait's own region, and drawings of both meshes. Colours are painted finely; the folds of chin, cheek and lid
    are a light and shade over the skin of their own, which is smooth and leaves the skin's texture and tint.

    Args:
        points: number of landmarks that describe the region's shape, beside the drawings.
        widths: channels at 1/2, 1/4 and 1/8 of the window's resolution.
        reddest: how many times as red as the portrait's own region what it paints may be; None sets no limit.
    """

    def __init__(self, points: int, widths: tuple[int, int, int], reddest: float | None = None) -> None:
        super().__init__()
        self.reddest = reddest
        fine, middle, coarse = widths
        self.enter = nn.Conv2d(INPUT_CHANNELS, fine, 3, padding=1)
        self.before = ResidualBlock(fine)
        self.to_middle = conv(fine, middle, stride=2)
        self.middle = ResidualBlock(middle)
        self.to_coarse = conv(middle, coarse, stride=2)
        self.shape = nn.Linear(2 * points * 3, coarse)
        self.coarse = nn.Sequential(ResidualBlock(coarse), ResidualBlock(coarse))
        self.from_coarse, self.from_middle = nn.Conv2d(coarse, middle, 1), nn.Conv2d(middle, fine, 1)
        self.middle_after, self.after = ResidualBlock(middle), ResidualBlock(fine)
        self.head, self.light = ZeroConv2d(fine, 12, 1), ZeroConv2d(middle, 1, 1)

    def forward(self, shown: Tensor, own: Tensor, drawn: Tensor, shapes: Tensor) -> Tensor:
        """Paint the region.

        Args:
            shown, own: (B, 3, h, w) in [0, 1].
            drawn: (B, MESH_CHANNELS + 2 OPENING_CHANNELS, h/2, w/2).
            shapes: (B, 2, points, 3) of the source and of the driver, in the window's unit.

        Returns:
            The change of the person's colours (B, 3, h, w), which is 0 at the window's rim.
        """
        dtype = self.enter.weight.dtype
        pixels = F.pixel_unshuffle(torch.cat((shown, own), dim=1) * 2 - 1, 2)
        fine = self.before(self.enter(torch.cat((pixels, drawn), dim=1).to(dtype)))
        middle = self.middle(self.to_middle(F.silu(fine)))
        coarse = self.to_coarse(F.silu(middle)) + self.shape(shapes.flatten(1).to(dtype))[:, :, None, None]
        x = F.silu(self.middle_after(middle + upsample(self.from_coarse(F.silu(self.coarse(coarse))))))
        folds = F.interpolate(self.light(x).float(), size=shown.shape[-2:], mode="bilinear", align_corners=False)
        x = self.after(fine + upsample(self.from_middle(x)))
        painted = F.pixel_shuffle(self.head(F.silu(x)), 2).float()
        inside = shown.float().clamp(0.004, 0.996)
        weight = feather(shown.shape[-2:], shown)  # type: ignore[arg-type]
        lit = (inside * torch.exp2(MOST_LIGHT * torch.tanh(folds))).clamp(0.004, 0.996)
        stroke = weight * (torch.sigmoid(torch.logit(lit) + painted) - inside)
        return stroke if self.reddest is None else no_redder(stroke, shown, own, self.reddest)


def draw_region(points: Tensor, window: RegionWindow, canonical: Tensor | None) -> Tensor:
    """Draw the openings of mouth and eyes in the window, at half its resolution, after the mesh if ``canonical`` (478,
    3) is given: (B, 478, 3) in the window's unit -> (B, 3 or 10, h/2, w/2)."""
    height, width = window.size[0] // 2, window.size[1] // 2
    drawn = opening_image(points, width)
    if canonical is not None:
        drawn = torch.cat((mesh_image(points, canonical, width), drawn), dim=1)
    top = (width - height) // 2
    return drawn[:, :, top : top + height]


def region_shape(points: Tensor, region: Region) -> Tensor:
    """Return the region's own landmarks (B, points, 3) of (B, 478, 3)."""
    return points[:, torch.as_tensor(region.points, device=points.device)]


def no_redder(stroke: Tensor, shown: Tensor, own: Tensor, reddest: float) -> Tensor:
    """Return the change ``stroke`` of what is ``shown``, with less red where the result would be more than ``reddest`` times as
    red as the portrait's ``own`` region is anywhere: (B, 3, h, w) each."""
    most = reddest * _redness(own).amax((2, 3), keepdim=True).clamp_min(0)
    excess = (_redness(shown + stroke) - most).clamp_min(0) * feather(stroke.shape[-2:], stroke)  # type: ignore[arg-type]
    return torch.cat((stroke[:, :1] - excess, stroke[:, 1:]), dim=1)


def _redness(colours: Tensor) -> Tensor:
    """Return how much redder than green and blue colours (B, 3, h, w) are, (B, 1, h, w)."""
    return colours[:, :1] - colours[:, 1:].mean(1, keepdim=True)
