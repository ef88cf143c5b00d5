"""Keypoint consistency: the tracker must find the face in the rendered frame where the driving mesh has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.topology import LEFT_EYE, LEFT_IRIS, LIPS, POINTS, RIGHT_EYE, RIGHT_IRIS
from ...models.tracker.crops import EYE_LEFT, EYE_RIGHT
from ...models.tracker.modeling_tracker import SuperFaceTrackerModel
from ..core.layout import channels_last
from .crop_place import CropPlace

# How much more a point on lips, lids and irises counts: a few pixels there are a closed mouth or a look aside.
REGION_WEIGHT = 4.0
# A point counts as known where at least this share of its cell is known.
KNOWN = 0.99


class KeypointConsistency(nn.Module):
    """Distance between where a frozen tracker sees the rendered face and where it should be.

    Where the target picture is known the tracker's own reading of it is what should be found, so that the tracker's habits
    cancel; elsewhere (a region that was replaced in the driving signal, of which no picture exists) the driving mesh is.

    Args:
        tracker: its landmark regressor is run on crops of the face, cut as :class:`FaceCrop` does.
    """

    point_weights: Tensor

    def __init__(self, tracker: SuperFaceTrackerModel) -> None:
        super().__init__()
        self.regressor = channels_last(tracker.regressor).eval().requires_grad_(False)
        self.crop_size, self.margin = tracker.config.crop_size, tracker.config.crop_margin
        weights = torch.ones(POINTS)
        for part in (LIPS, LEFT_EYE, RIGHT_EYE, LEFT_IRIS, RIGHT_IRIS):
            weights[torch.as_tensor(part)] = REGION_WEIGHT
        self.register_buffer("point_weights", weights / weights.mean(), persistent=False)

    def forward(self, frames: Tensor, target: Tensor, landmarks: Tensor, known: Tensor) -> Tensor:
        """Return the mean distance in the picture's plane, in inter-ocular distances.

        Args:
            frames, target: (B, 3, S, S) in [0, 1].
            landmarks: (B, 478, 3) the driving mesh in image coordinates.
            known: (B, 1, s, s) where the target shows what it should.
        """
        with torch.autocast(frames.device.type, enabled=False):
            frames, landmarks = frames.float(), landmarks.float()
            place = CropPlace.around(landmarks, self.margin)
            driven = place.to_crop(landmarks)
            with torch.no_grad():
                read = self._read(target.float(), place)
                seen = F.grid_sample(known.float(), landmarks[:, :, None, :2], align_corners=False)[:, 0] >= KNOWN
                wanted = torch.where(seen, read, driven)
                unit = (driven[:, EYE_LEFT] - driven[:, EYE_RIGHT]).norm(dim=-1, keepdim=True)
            # The square root has an infinite slope at zero.
            distance = ((self._read(frames, place) - wanted).square().sum(-1) + 1e-8).sqrt()
            return (distance / unit * self.point_weights).mean()

    def _read(self, pictures: Tensor, place: CropPlace) -> Tensor:
        """Return where the tracker sees the points: (B, 478, 2) in crop units."""
        crops = place.cut(pictures, self.crop_size) * 2 - 1
        points, _ = self.regressor(crops.contiguous(memory_format=torch.channels_last))
        return points[..., :2]
