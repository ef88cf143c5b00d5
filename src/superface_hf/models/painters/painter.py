"""The network that paints one region, mouth or eye, in its own window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_image import MESH_CHANNELS, OPENING_CHANNELS, mesh_image, opening_image
from ..blocks import ResidualBlock, ZeroConv2d, conv, upsample
from .windows import Region, RegionWindow, feather

# The reddest place at a mouth that moves is at most so many times as red as the portrait's own mouth: in 20 clips of people
# 1.04 times on average, 1.16 in the farthest. Networks that turn bright teeth into lips overshoot it.
REDDEST = 1.15

# Input channels: the rendered region and the portrait's own, the driving mesh, and the openings of both meshes.
INPUT_CHANNELS = 2 * 12 + MESH_CHANNELS + 2 * OPENING_CHANNELS


class RegionPainter(nn.Module):
    """Paints the inside of lips or lids, their rims, and the folds around them. Its inputs are the region rendered so
    far, the portrait's own region, and drawings of both meshes.

    Args:
        points: number of landmarks that describe the region's shape, beside the drawings.
        widths: channels at 1/2, 1/4 and 1/8 of the window's resolution.
    """

    def __init__(self, points: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
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
        self.head = ZeroConv2d(fine, 12, 1)

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
        x = self.middle_after(middle + upsample(self.from_coarse(F.silu(self.coarse(coarse)))))
        x = self.after(fine + upsample(self.from_middle(F.silu(x))))
        painted = F.pixel_shuffle(self.head(F.silu(x)), 2).float()
        colours = shown.float()
        inside = colours.clamp(0.004, 0.996)
        weight = feather(shown.shape[-2:], shown)  # type: ignore[arg-type]
        return weight * (torch.sigmoid(torch.logit(inside) + painted) - inside)


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


def no_redder(stroke: Tensor, shown: Tensor, own: Tensor) -> Tensor:
    """Return the change ``stroke`` of what is ``shown``, with less red where the result would be redder than a mouth like the
    portrait's ``own`` can be: (B, 3, h, w) each."""
    most = REDDEST * _redness(own).amax((2, 3), keepdim=True).clamp_min(0)
    excess = (_redness(shown + stroke) - most).clamp_min(0) * feather(stroke.shape[-2:], stroke)  # type: ignore[arg-type]
    return torch.cat((stroke[:, :1] - excess, stroke[:, 1:]), dim=1)


def _redness(colours: Tensor) -> Tensor:
    """Return how much redder than green and blue colours (B, 3, h, w) are, (B, 1, h, w)."""
    return colours[:, :1] - colours[:, 1:].mean(1, keepdim=True)
