"""The appearance volume in space: the depths of its planes, and its warp by a 3D flow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Depths of the first and the last plane, in radii of the face, from the centre of the mesh; + is toward the camera.
VOLUME_FAR, VOLUME_NEAR = -2.5, 1.0


def plane_depths(depth: int, like: Tensor) -> Tensor:
    """Return the depths (D,) of the planes in radii of the face."""
    return torch.linspace(VOLUME_FAR, VOLUME_NEAR, depth, device=like.device, dtype=like.dtype)


def warp_volume(volume: Tensor, flow: Tensor) -> Tensor:
    """Sample a volume (B, D, C, S, S) at each cell plus a 3D flow, trilinearly; beyond the edge, the edge is repeated.

    Two samples from a tall picture of all planes, blended by depth, give the same result as ``grid_sample`` in three
    dimensions, which is slow on CPUs.

    Args:
        flow: (B, D, 3, S, S): x and y in image units, z in radii of the face.
    """
    batch, depth, channels, height, width = volume.shape
    tall = volume.transpose(1, 2).reshape(batch, channels, depth * height, width)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, :, 0] * (width / 2)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, :, 1] * (height / 2)
    spacing = (VOLUME_NEAR - VOLUME_FAR) / (depth - 1)
    planes = torch.arange(depth, device=flow.device, dtype=flow.dtype)[:, None, None] + flow[:, :, 2] / spacing
    columns, rows, planes = columns.clamp(0, width - 1), rows.clamp(0, height - 1), planes.clamp(0, depth - 1)
    lower = planes.detach().floor().clamp_max(depth - 2)
    x = (columns.flatten(1, 2) + 0.5) * (2 / width) - 1
    samples = []
    for plane in (lower, lower + 1):
        y = ((rows + plane * height).flatten(1, 2) + 0.5) * (2 / (depth * height)) - 1
        samples.append(F.grid_sample(tall, torch.stack((x, y), dim=-1), align_corners=False))
    share = (planes - lower).flatten(1, 2)[:, None]
    moved = torch.lerp(samples[0], samples[1], share)
    return moved.reshape(batch, channels, depth, height, width).transpose(1, 2)
