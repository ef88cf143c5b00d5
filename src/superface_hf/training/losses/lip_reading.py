"""Lip reading as a critic: a frozen lip reader must see the same mouth in a rendering as in the target.

What tells sounds apart on lips are few pixels, which a loss on pixels hardly weighs (Wang et al. 2023, "Seeing What You Said").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models.lip_reader.modeling_lip_reader import SuperFaceLipReaderModel
from ...models.lip_reader.mouth_pictures import pictures_in_windows


class LipReadingDistance(nn.Module):
    """Distance between what a reader knows of painted mouths and of the true ones, over how different true mouths are."""

    def __init__(self, reader: SuperFaceLipReaderModel) -> None:
        super().__init__()
        self.reader = reader.float().eval().requires_grad_(False)

    def forward(self, painted: Tensor, target: Tensor) -> Tensor:
        """Return the mean distance of windows (B, 3, 128, 192) in [0, 1], B > 1; 0 for equal ones. Each is read by itself, as
        one frame."""
        with torch.autocast(painted.device.type, enabled=False):
            found, true = (
                self.reader.hidden(pictures_in_windows(each.float())[:, None])[:, 0] for each in (painted, target)
            )
        return (found - true).square().mean() / true.var(0).mean().clamp_min(1e-6)
