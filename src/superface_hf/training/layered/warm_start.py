"""Start a teacher on layers with the weights of one without: what they lack starts at zero, so that it renders the same.

    python -m superface_hf.training.layered.warm_start --teacher OLD/model.safetensors --out start.safetensors

The first teacher knew one flow of the whole crop. On layers it also sees the matte and where the layers would take the person,
and predicts where the person ends; until it has learnt that, its flow moves the matte as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...models.teacher.configuration_teacher import SuperFaceTeacherConfig
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel

# Convolutions with more input channels, and one with more output channels; the new ones come last.
WIDER = ("appearance_encoder.stem.weight", "dense_motion.unet.stem.weight", "generator.fine.weight")
LONGER = ("generator.head.weight", "generator.head.bias")
# Motions that the first teacher could blend into its mesh flow.
OTHERS = 4


def warm_started(old: dict[str, Tensor], config: SuperFaceTeacherConfig) -> dict[str, Tensor]:
    """Return the weights of a teacher on layers that renders, over a plate, what the first one with weights ``old`` renders.

    Raises:
        ValueError: they are of another size.
    """
    weights = SuperFaceTeacherModel(config).state_dict()
    for name, value in old.items():
        value = value.float()
        if name in WIDER:
            value = F.pad(value, (0, 0, 0, 0, 0, weights[name].shape[1] - value.shape[1]))
        elif name in LONGER:
            value = torch.cat((value, value.new_zeros(len(weights[name]) - len(value), *value.shape[1:])))
        elif name.startswith("dense_motion.head."):
            # The new first weight blends from the layers to the mesh flow: one, less the weights of the other motions.
            first = -value[:OTHERS].sum(0, keepdim=True)
            value = torch.cat((first + 1 if name.endswith("bias") else first, value))
        if weights[name].shape != value.shape:
            raise ValueError(f"{name} is {tuple(value.shape)}, not {tuple(weights[name].shape)}")
        weights[name] = value
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    save_file(warm_started(load_file(arguments.teacher), SuperFaceTeacherConfig.of_size("base")), arguments.out)


if __name__ == "__main__":
    main()
