"""Expression consistency: the tracker's refiners must read the same mouth, brows and eyes in a rendering as in the target.

A loss on pixels is content with lips that are nearly right: pressed, pursed and stretched ones differ in few pixels. Networks
that were trained to measure them tell them apart, as a lip reader does for speech (Wang et al. 2023, "Seeing What You Said").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models.tracker import eyes
from ...models.tracker.modeling_tracker import SuperFaceTrackerModel
from ...models.tracker.networks import CropRefiner
from ...models.tracker.regions import BROWS, MOUTH
from ..core.layout import channels_last
from .crop_place import CropPlace

# Points this far off, in halves of a crop's side, count as much as features that are off by their own mean strength.
POINTS_OFF = 0.05


class ExpressionConsistency(nn.Module):
    """Distance between what frozen refiners read of rendered faces and of the true ones: points, and features before them.

    Args:
        tracker: its refiners look where it would look with the driving mesh.
    """

    def __init__(self, tracker: SuperFaceTrackerModel) -> None:
        super().__init__()
        self.mouth, self.brows, self.eye = (
            channels_last(part).eval().requires_grad_(False) for part in (tracker.mouth, tracker.brows, tracker.eyes)
        )
        config = tracker.config
        self.sizes = {"mouth": config.mouth_size, "brows": config.brow_size, "eye": config.eye_size}

    def forward(self, frames: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        """Return the mean distance over mouth, brows and eyes; 0 for equal pictures.

        Args:
            frames, target: (B, 3, S, S) in [0, 1].
            landmarks: (B, 478, 3) the driving mesh in their coordinates.
        """
        with torch.autocast(frames.device.type, enabled=False):
            frames, target, landmarks = frames.float(), target.float(), landmarks.float()
            looks = [self._eyes(frames, target, landmarks)]
            for network, region, side in (
                (self.mouth, MOUTH, self.sizes["mouth"]),
                (self.brows, BROWS, self.sizes["brows"]),
            ):
                place, rows = CropPlace.of_region(landmarks, region), region.rows(side)
                pair = (place.cut(pictures, side)[:, :, rows] for pictures in (frames, target))
                looks.append(_distance(network, *pair))
            return torch.stack(looks).mean()

    def _eyes(self, frames: Tensor, target: Tensor, landmarks: Tensor) -> Tensor:
        side = self.sizes["eye"]
        right, left = CropPlace.of_eyes(landmarks)
        rows = eyes.rows(side)
        pair = (
            torch.cat((right.cut(pictures, side), left.cut(pictures, side).flip(-1)))[:, :, rows]
            for pictures in (frames, target)
        )
        return _distance(self.eye, *pair)


def _distance(network: CropRefiner, rendered: Tensor, wanted: Tensor) -> Tensor:
    """Return how far a refiner's features (over their strength) and points (over ``POINTS_OFF``) differ."""
    seen = network.features((rendered * 2 - 1).contiguous(memory_format=torch.channels_last))
    with torch.no_grad():
        true = network.features((wanted * 2 - 1).contiguous(memory_format=torch.channels_last))
        strength = true.abs().mean().clamp_min(1e-3)
        points = network.read(true)[..., :2]
    off = (network.read(seen)[..., :2] - points).abs().mean()
    return (seen - true).abs().mean() / strength + off / POINTS_OFF
