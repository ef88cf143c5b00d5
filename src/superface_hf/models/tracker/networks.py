"""The networks of the tracker: a face detector, a landmark regressor, and refiners of eyes, mouth and brows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbone import STAGES, LiteBackbone, conv_norm
from .configuration_tracker import SuperFaceTrackerConfig
from .eyes import EYE_POINTS
from .regions import BROWS, MOUTH, Region

# A face's box is regressed in this unit: log of its size over the stride.
DETECTOR_STRIDE = 8


class FaceDetector(nn.Module):
    """Detects faces as points (after CenterNet, Zhou et al. 2019): a heatmap of centres, with size and roll at each."""

    def __init__(self, config: SuperFaceTrackerConfig) -> None:
        super().__init__()
        channels = config.detector_channels
        self.backbone = LiteBackbone(config.detector_stages)
        self.fine = nn.Sequential(*conv_norm(STAGES[2].channels, channels, 1))
        self.coarse = nn.Sequential(*conv_norm(STAGES[config.detector_stages - 1].channels, channels, 1))
        self.mix = nn.Sequential(
            nn.ReLU6(inplace=True),
            *conv_norm(channels, channels, 5, groups=channels),
            *conv_norm(channels, channels, 1),
            nn.ReLU6(inplace=True),
            *conv_norm(channels, channels, 5, groups=channels),
            *conv_norm(channels, channels, 1),
            nn.ReLU6(inplace=True),
        )
        self.heatmap = nn.Conv2d(channels, 1, 1)
        self.geometry = nn.Conv2d(channels, 5, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return heatmap logits and geometry at stride 8.

        Args:
            pixels: (B, 3, S, S) in [-1, 1].

        Returns:
            (B, S/8, S/8) logits and (B, 5, S/8, S/8): offset of the centre x, y from the cell's centre in cells, log
            of the face's longer upright side in cells, cosine and sine of the roll (not normalised).
        """
        features = self.backbone(pixels)
        coarse = F.interpolate(self.coarse(features[-1]), scale_factor=2.0, mode="nearest")
        mixed = self.mix(self.fine(features[2]) + coarse)
        return self.heatmap(mixed)[:, 0], self.geometry(mixed)


class LandmarkRegressor(nn.Module):
    """Regresses the mesh of the face in an upright crop, and whether there is a face.

    The feature maps are narrowed but not pooled before the linear layers, because positions matter.
    """

    def __init__(self, config: SuperFaceTrackerConfig) -> None:
        super().__init__()
        self.backbone = LiteBackbone(config.landmark_stages)
        fine, coarse = 32, 96
        self.fine = nn.Sequential(*conv_norm(STAGES[4].channels, fine, 1), nn.ReLU6(inplace=True))
        self.coarse = nn.Sequential(
            *conv_norm(STAGES[config.landmark_stages - 1].channels, coarse, 1), nn.ReLU6(inplace=True)
        )
        cells = config.crop_size // 32
        features = fine * (2 * cells) ** 2 + coarse * cells**2
        self.coefficients = nn.Linear(features, config.landmark_coefficients)
        self.mesh = nn.Linear(config.landmark_coefficients, config.num_landmarks * 3)
        self.face = nn.Linear(features, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return landmarks, and the logit of whether there is a face.

        Args:
            pixels: (B, 3, S, S) in [-1, 1].

        Returns:
            (B, 478, 3) in crop units ([-1, 1] are the crop's edges; z toward the camera) and (B,) logits.
        """
        features = self.backbone(pixels)
        flat = torch.cat([self.fine(features[4]).flatten(1), self.coarse(features[-1]).flatten(1)], dim=1)
        return self.mesh(self.coefficients(flat)).unflatten(1, (-1, 3)), self.face(flat)[:, 0]


class CropRefiner(nn.Module):
    """Regresses the points of a part of the face in its own crop (see ``eyes`` and ``regions``).

    As in the regressor, features are not pooled, because positions matter.

    Args:
        size: (height, width) of the crop in pixels, multiples of 8.
        points: the number of points.
        coefficients: size of the bottleneck before them.
        depth: residual blocks at the coarsest resolution.
    """

    def __init__(self, size: tuple[int, int], points: int, coefficients: int, depth: int = 1) -> None:
        super().__init__()
        stem, middle, wide = 16, 32, 64
        self.features = nn.Sequential(
            *conv_norm(3, stem, 5, stride=2),
            nn.ReLU(inplace=True),
            *conv_norm(stem, middle, 3, stride=2),
            nn.ReLU(inplace=True),
            _Residual(middle),
            *conv_norm(middle, wide, 3, stride=2),
            nn.ReLU(inplace=True),
            *(_Residual(wide) for _ in range(depth)),
            *conv_norm(wide, 32, 1),
            nn.ReLU(inplace=True),
        )
        self.coefficients = nn.Linear(32 * (size[0] // 8) * (size[1] // 8), coefficients)
        self.shape = nn.Linear(coefficients, points * 3)

    @classmethod
    def of_eye(cls, config: SuperFaceTrackerConfig) -> CropRefiner:
        """Return the refiner of both eyes, left ones mirrored: lids, iris and the skin around them, in the order of
        ``eyes.EYE_POINTS``."""
        size = (config.eye_size * 3 // 4, config.eye_size)
        return cls(size, len(EYE_POINTS[0]), config.eye_coefficients)

    @classmethod
    def of_mouth(cls, config: SuperFaceTrackerConfig) -> CropRefiner:
        """Return the refiner of the mouth: lips, the skin around them and the jaw line, in the order of ``MOUTH.points``."""
        return cls._of_region(MOUTH, config.mouth_size, config.mouth_coefficients)

    @classmethod
    def of_brows(cls, config: SuperFaceTrackerConfig) -> CropRefiner:
        """Return the refiner of both brows and the forehead, in the order of ``BROWS.points``."""
        return cls._of_region(BROWS, config.brow_size, config.brow_coefficients)

    @classmethod
    def _of_region(cls, region: Region, side: int, coefficients: int) -> CropRefiner:
        return cls(region.size(side), len(region.points), coefficients, depth=2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the part's points.

        Args:
            pixels: (B, 3, height, width) in [-1, 1].

        Returns:
            (B, P, 3) in units of the crop's square; depth from the part's corners.
        """
        return self.read(self.features(pixels.contiguous(memory_format=torch.channels_last)))

    def read(self, features: Tensor) -> Tensor:
        """Return the points from the feature maps, see :meth:`forward`."""
        return self.shape(self.coefficients(features.flatten(1))).unflatten(1, (-1, 3))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_norm(channels, channels, 3), nn.ReLU(inplace=True), *conv_norm(channels, channels, 3)
        )

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.layers(features))
