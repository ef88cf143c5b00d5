"""The rigid motion of a head between two meshes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .topology import STABLE


@dataclass(frozen=True, eq=False)
class RigidMotion:
    """Moves positions of the source as its skull moves: ``scale * rotation @ (place - before) + after``, in double precision.

    Attributes:
        rotation: (B, 3, 3).
        scale: (B,).
        before, after: (B, 1, 3) the mean of the stable points in source and driver.
    """

    rotation: Tensor
    scale: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def between(cls, source: Tensor, driving: Tensor) -> RigidMotion:
        """Fit the stable points of two meshes (B, 478, 3) (Umeyama 1991)."""
        stable = torch.as_tensor(STABLE, device=source.device)
        a, b = source[:, stable].double(), driving[:, stable].double()
        before, after = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
        u, values, vt = torch.linalg.svd((b - after).transpose(1, 2) @ (a - before))
        flip = torch.ones_like(values)
        flip[:, 2] = torch.linalg.det(u @ vt).sign()
        scale = (values * flip).sum(1) / (a - before).square().sum((1, 2)).clamp_min(1e-12)
        return cls((u * flip[:, None]) @ vt, scale, before, after)

    def __call__(self, places: Tensor) -> Tensor:
        """Move places (B, N, 3) of the source."""
        return self.scale[:, None, None] * ((places - self.before) @ self.rotation.transpose(1, 2)) + self.after


__all__ = ["RigidMotion"]
