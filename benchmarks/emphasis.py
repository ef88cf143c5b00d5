"""How much larger than a face's landmarks its meshes must be, so that the teacher's pictures show the whole expression: the
constants of ``face_model/emphasis.py``.

::

    python benchmarks/emphasis.py --data $SUPERFACE_DATA [--split train] [--clips 12]

The teacher renders clips from their first frame, each time with other constants (mouth's width, brows, lids). Printed are the
slopes of the expressions that MediaPipe's face landmarker sees in the frames, over those that it sees in the true ones, and how
near the frames are: PSNR of the whole and of the boxes of eyes and mouth, and the perceptual distance. The landmarker's file
``face_landmarker.task`` is looked for in ``SUPERFACE_MODELS``, or in the folder ``models`` of the data.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from superface_hf.evaluation.data import Reenactment, track_clip
from superface_hf.evaluation.expression import Landmarker, find_landmarker
from superface_hf.evaluation.methods import Methods
from superface_hf.evaluation.teacher import load_teacher
from superface_hf.face_model import emphasis
from superface_hf.face_model.emphasis import ShownFaceModel
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import eye_boxes, mouth_box
from superface_hf.hub import weights_folder
from superface_hf.layers.portrait import to_uint8
from superface_hf.metrics.features import FeatureNetwork, perceptual_distance
from superface_hf.metrics.image import as_floats, box_mask, psnr
from superface_hf.metrics.slopes import MEASURES, correlation, slope
from superface_hf.models.embedded import embedded_tracker

NAMES = ("WIDTH", "BROWS", "LIDS")
CHOSEN = tuple(getattr(emphasis, name) for name in NAMES)
TRIED = ((1.0, 1.0, 1.0), (1.2, 1.2, 1.4), CHOSEN, (1.2, 1.2, 1.7))


def driving(clip: Reenactment, constants: tuple[float, ...]) -> torch.Tensor:
    """Return the clip's meshes (T, 478, 3) with other constants."""
    rest, own = clip.motion[0], clip.source_landmarks[0]
    with ExitStack() as stack:
        for name, value in zip(NAMES, constants, strict=True):
            stack.enter_context(patch.object(emphasis, name, value))
        model = ShownFaceModel(FaceModel.default())
        return model.animate(model.neutral_shape(own, rest), clip.motion)[1:]


class Tally:
    """The changes of expressions, and the nearness, of the frames made with some constants."""

    def __init__(self) -> None:
        self.changes: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
        self.near: list[tuple[float, ...]] = []

    def __str__(self) -> str:
        pairs = {name: np.concatenate(found, axis=1) for name, found in self.changes.items()}
        slopes = [f"{slope(*pair):.2f} / {correlation(*pair):.2f}" for pair in pairs.values()]
        whole, boxes, distance = np.mean(self.near, axis=0)
        return "  ".join(f"{text:>12}" for text in (*slopes, f"{whole:.2f}", f"{boxes:.2f}", f"{distance:.3f}"))


def nearness(frames: np.ndarray, clip: Reenactment, features: FeatureNetwork) -> Iterator[tuple[float, ...]]:
    for frame, target, points in zip(frames, clip.targets, clip.target_landmarks, strict=True):
        made, true = as_floats(frame), as_floats(target)
        boxes = box_mask([mouth_box(points), *eye_boxes(points)], *target.shape[:2])
        seen = features(torch.from_numpy(np.stack([frame, target])).permute(0, 3, 1, 2).float() / 255)
        yield psnr(made, true), psnr(made, true, boxes), float(perceptual_distance(seen[0], seen[1])[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), required="SUPERFACE_DATA" not in os.environ
    )
    parser.add_argument("--model", default=str(weights_folder("teacher")), help="a teacher (default: the embedded one)")
    parser.add_argument("--split", choices=("val", "train"), default="val")
    parser.add_argument("--clips", type=int, default=12, help="so many clips, spread over all of the split")
    parser.add_argument("--frames", type=int, default=10, help="of each clip")
    options = parser.parse_args()
    methods, tracker, features = Methods(load_teacher(options.model)), embedded_tracker(), FeatureNetwork()
    landmarker = Landmarker.official(find_landmarker(options.data))
    paths = sorted((options.data / "clips").glob(f"{options.split}_*.mp4"))
    tallies = {constants: Tally() for constants in TRIED}
    for path in paths[:: max(1, len(paths) // options.clips)][: options.clips]:
        clip = track_clip(path, options.frames, 3, tracker).spread
        true = landmarker.measures(np.concatenate([to_uint8(clip.source), clip.targets]))
        for constants, tally in tallies.items():
            meshes = driving(clip, constants)
            frames = methods.render_teacher(clip.source, clip.source_landmarks, meshes, clip.side)
            made = landmarker.measures(frames)
            for name in MEASURES:
                changes = np.stack([true[name][1:], made[name]]) - true[name][0]
                tally.changes[name].append(changes[:, np.isfinite(changes).all(0)])
            tally.near.append(tuple(np.mean(list(nearness(frames, clip, features)), axis=0)))
    print(f"{'width, brows, lids':22}" + "  ".join(f"{name:>12}" for name in (*MEASURES, "PSNR", "boxes", "percept")))
    for constants, tally in tallies.items():
        print(f"{', '.join(map(str, constants)):22}{tally}")
    print("Slope / correlation of changes against the first frame, of all clips; PSNR in dB.")


if __name__ == "__main__":
    main()
