"""Fit how the torso follows the head (the constants of ``layers/motion.py``) to training clips, in which heads move and
shoulders mostly do not.

::

    python benchmarks/torso.py --data $SUPERFACE_DATA [--clips 90] [--frames 8] [--steps 100]

The untrained layers render each clip from its first frame, and five numbers are changed by gradient until the frames
differ least from the clip's (mean absolute difference at three sizes). One clip in four is only measured. The rule is
fitted as if it held however far a face goes (``FAR``). What the result is worth on validation clips is measured by
``superface evaluate teacher`` and ``benchmarks/layers_ablation.py``.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from superface_hf.errors import SuperFaceError
from superface_hf.evaluation.data import track_clip
from superface_hf.face_model.mesh_flow import warp
from superface_hf.layers import motion
from superface_hf.layers.portrait import PortraitLayers, to_uint8
from superface_hf.models.embedded import embedded_inpainter, embedded_matte, embedded_tracker

CONSTANTS = ("NECK", "TORSO", "SLANT", "BESIDE", "FOLLOWING")
NEVER_FAR = (1e6, 2e6)
BEFORE = (-0.05, 0.55, 0.05, 0.45, 0.3)  # chosen by hand, where the fit begins
SIZE, SIZES = 128, 3  # pixels of the largest of the compared pictures, and how many there are, each half as large
RATE = 0.01
HELD_OUT = 4


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip: its source's person (1, 3, s, s), matte (1, 1, s, s) and plate, its landmarks, and T true frames."""

    person: Tensor
    matte: Tensor
    plate: Tensor
    own: Tensor
    driving: Tensor
    targets: Tensor

    def loss(self) -> Tensor:
        """Return how much the untrained layers, with the constants as they now are, differ from the true frames."""
        count = len(self.driving)
        flow = motion.layer_flow(self.own.expand(count, -1, -1), self.driving, SIZE // 4)
        flow = F.interpolate(flow, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        moved, alpha = (warp(each.expand(count, -1, -1, -1), flow) for each in (self.person, self.matte))
        one, other = torch.lerp(self.plate.expand_as(moved), moved, alpha), self.targets
        total = (one - other).abs().mean()
        for _ in range(SIZES - 1):
            one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
            total = total + (one - other).abs().mean()
        return total


def read_scenes(paths: list[Path], frames: int) -> list[Scene]:
    """Read and track clips; those in which too few frames show a face are left out."""
    tracker, matte, inpainter, scenes = embedded_tracker(), embedded_matte(), embedded_inpainter(), []
    for path in paths:
        try:
            clip = track_clip(path, frames, 3, tracker).spread
        except SuperFaceError as error:
            print(error)
            continue
        side = clip.side
        pixels = (clip.source_landmarks[0].numpy() + 1) * (side / 2)
        with torch.inference_mode():
            layers = PortraitLayers.make(to_uint8(clip.source)[0], pixels, matte, inpainter)
        alpha, plate = np.zeros((side, side, 1), np.uint8), layers.picture.copy()
        alpha[layers.box] = layers.alpha[..., None]
        plate[layers.box] = layers.plate
        person, small, behind, targets = map(_small, (layers.picture[None], alpha[None], plate[None], clip.targets))
        scenes.append(Scene(person, small, behind, clip.source_landmarks, clip.driving, targets))
    return scenes


def fit(scenes: list[Scene], steps: int) -> None:
    """Print the constants that suit the scenes best, and how well; every fourth scene is only measured."""
    constants = [torch.tensor(value, requires_grad=True) for value in BEFORE]
    optimizer = torch.optim.Adam(constants, lr=RATE)
    held_out = scenes[HELD_OUT - 1 :: HELD_OUT]
    fitted = [scene for index, scene in enumerate(scenes) if index % HELD_OUT != HELD_OUT - 1]
    for step in range(steps + 1):
        named: dict[str, Any] = dict(zip(CONSTANTS, constants, strict=True))
        with patch.multiple(motion, FAR=NEVER_FAR, **named):
            if step % 10 == 0 or step == steps:
                with torch.no_grad():
                    means = [float(torch.stack([scene.loss() for scene in part]).mean()) for part in (fitted, held_out)]
                values = " ".join(f"{name} {float(value.detach()):.3f}" for name, value in named.items())
                print(f"step {step}: fitted {means[0]:.5f}, held out {means[1]:.5f}; {values}", flush=True)
            if step < steps:
                for scene in fitted:
                    (scene.loss() / len(fitted)).backward()
                optimizer.step()
                optimizer.zero_grad()


def _small(pictures: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(tensor, size=(SIZE, SIZE), mode="area")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="folder with clips/*.mp4")
    parser.add_argument("--clips", type=int, default=90, help="training clips, drawn at random (default: 90)")
    parser.add_argument("--frames", type=int, default=8, help="targets of each clip, evenly spread (default: 8)")
    parser.add_argument("--steps", type=int, default=100, help="steps of the fit (default: 100)")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    paths = sorted(Path(args.data).glob("clips/train_*.mp4"))
    np.random.default_rng(0).shuffle(paths)
    scenes = read_scenes(paths[: args.clips], args.frames)
    print(f"{len(scenes)} clips")
    fit(scenes, args.steps)


if __name__ == "__main__":
    main()
