"""Take over the weights of MediaPipe's selfie segmentation, which the matte network starts from::

    python -m superface_hf.training.matte.convert_segmenter --models MODELS --out FOLDER

MODELS holds ``selfie_segmentation.tflite``. Needs ``ai-edge-litert``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...models.matte.configuration_matte import SuperFaceMatteConfig
from ...models.matte.modeling_matte import SuperFaceMatteModel

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "Convolution2DTransposeBias")


def converted(path: Path) -> SuperFaceMatteModel:
    """Return the network with the weights of a TFLite file, whose operations stand in the order of the network's modules."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    operations = interpreter._get_ops_details()
    halves = {o["outputs"][0]: o["inputs"][0] for o in operations if o["op_name"] == "DEQUANTIZE"}
    network = SuperFaceMatteModel(SuperFaceMatteConfig()).eval()
    modules = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    theirs = [o for o in operations if o["op_name"] in CONVOLUTIONS]
    for module, operation in zip(modules, theirs, strict=True):
        weight, bias = (
            interpreter.get_tensor(halves.get(index, index)).astype(np.float32) for index in operation["inputs"][1:3]
        )
        # Theirs are (out, height, width, in); of depthwise ones (1, height, width, channels).
        ours = weight.transpose((0, 3, 1, 2) if operation["op_name"] == "CONV_2D" else (3, 0, 1, 2))
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(ours)))
            module.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a matte checkpoint of MediaPipe's selfie segmentation.")
    parser.add_argument("--models", type=Path, required=True, help="folder with selfie_segmentation.tflite")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    converted(options.models / "selfie_segmentation.tflite").half().save_pretrained(options.out)


if __name__ == "__main__":
    main()
