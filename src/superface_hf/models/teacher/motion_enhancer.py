"""The motion-enhancing mechanism, MEM: encodes meshes as the motion representations p_s and p_d (SuperFace, figure 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...face_model.mesh_flow import face_radius
from ...face_model.mesh_image import MESH_CHANNELS
from ...face_model.topology import POINTS
from ..blocks import ZeroLinear, conv
from .configuration_teacher import SuperFaceTeacherConfig


class MotionEnhancer(nn.Module):
    """Uses the 3D prior twice. Early, in the picture's plane, convolutions read the drawn mesh beside the pixels. Late,
    with depth, the 3D landmarks are added to their result.

    The driving side has no pixels (``Motion`` holds none), so it uses the mesh alone. Source and driving have separate
    projections into one space, where the dense motion network adds the two.
    """

    def __init__(self, config: SuperFaceTeacherConfig) -> None:
        super().__init__()
        self.early_mesh, self.late_landmarks = config.early_mesh, config.late_landmarks
        code = config.code_channels
        self.image_layers = nn.ModuleList((conv(3 + MESH_CHANNELS, 24, 2), conv(24, 48, 2), conv(48, 64, 2)))
        self.image_to_source, self.image_to_driving = ZeroLinear(64, code), ZeroLinear(64, code)
        self.points_to_source = nn.Linear(POINTS * 3, code)
        self.points_to_driving = nn.Linear(POINTS * 3, code, bias=False)

    def source(self, pixels: Tensor, mesh: Tensor, landmarks: Tensor) -> Tensor:
        """Encode p_s (B, code) from small pixels (B, 3, s, s) in [0, 1], the mesh image (B, 7, s, s) and landmarks (B,
        478, 3)."""
        return self._join(pixels, mesh, landmarks, self.image_to_source, self.points_to_source)

    def driving(self, mesh: Tensor, landmarks: Tensor) -> Tensor:
        """Encode p_d (B, code) from the driving mesh's image (B, 7, s, s) and its landmarks (B, 478, 3)."""
        pixels = mesh.new_zeros(len(mesh), 3, *mesh.shape[2:])
        return self._join(pixels, mesh, landmarks, self.image_to_driving, self.points_to_driving)

    def _join(self, pixels: Tensor, mesh: Tensor, landmarks: Tensor, early: nn.Linear, late: nn.Linear) -> Tensor:
        code = landmarks.new_zeros(len(mesh), late.out_features, dtype=torch.float32)
        if self.early_mesh:
            x = torch.cat((pixels, mesh), dim=1).to(late.weight.dtype)
            for layer in self.image_layers:
                x = F.silu(layer(x))
            code = code + early(x.mean((2, 3))).float()
        if self.late_landmarks:
            # In full precision: p_s and p_d nearly cancel where source and driver look alike.
            with torch.autocast(landmarks.device.type, enabled=False):
                points = landmarks.float()
                points = (points - points.mean(1, keepdim=True)) / face_radius(points)[:, None, None]
                bias = None if late.bias is None else late.bias.float()
                code = code + F.linear(points.flatten(1), late.weight.float(), bias)
        return code
