"""Measure what each part of the layers contributes: the shipped teacher on validation clips, each time without one part.

::

    python benchmarks/layers_ablation.py --data $SUPERFACE_DATA [--clips 5] [--frames 8] [--json layers_ablation.json]

Nothing is trained anew: the teacher was trained with all parts, so a row shows how much it relies on one. Distances
are by EfficientNet-Lite0, which training used, and Lite2, which no training uses; lower is better. Needs the extra
``[metrics]``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from superface_hf import SuperFaceTeacherModel
from superface_hf.evaluation.data import Reenactment, track_clip, validation_clips
from superface_hf.evaluation.methods import TITLES, Methods
from superface_hf.evaluation.teacher import load_teacher
from superface_hf.face_model.mesh_flow import mesh_flow
from superface_hf.hub import weights_folder
from superface_hf.layers import motion, outline, untrained
from superface_hf.layers.plate import hole_behind
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.metrics.features import FeatureNetwork, perceptual_distance
from superface_hf.metrics.image import as_floats, psnr
from superface_hf.models.embedded import embedded_tracker
from superface_hf.models.teacher import modeling_teacher

COLUMNS = ("perceptual distance", "second judge", "PSNR, dB")
WHOLE = TITLES["teacher"]
TELEA_RADIUS = 5  # pixels

Taken = AbstractContextManager[Any]  # inside this context a part is missing


def without_matte(teacher: SuperFaceTeacherModel) -> Taken:
    """Return layers in which the whole picture is the person; motion then fades out away from the face."""
    plain = motion.layer_flow

    def fading(source: Tensor, driving: Tensor, size: int, *args: Any, **named: Any) -> Tensor:
        return plain(source, driving, size, *args, **named) * mesh_flow(source, driving, size)[1]

    def everything(layers: PortraitLayers) -> PortraitLayers:
        picture = layers.picture
        return PortraitLayers.of(picture, np.ones(picture.shape[:2], np.float32), picture, picture)

    users = (motion, untrained, modeling_teacher)
    return _all(_other_layers(everything), *(patch.object(user, "layer_flow", fading) for user in users))


def plate_by_opencv(teacher: SuperFaceTeacherModel) -> Taken:
    """Return layers whose plate is filled by ``cv2.inpaint``, in the inpainter's hole."""

    def inpainted(layers: PortraitLayers) -> PortraitLayers:
        alpha = np.zeros(layers.picture.shape[:2], np.float32)
        alpha[layers.box] = layers.alpha / np.float32(255)
        hole = hole_behind(alpha).astype(np.uint8)
        plate = cv2.inpaint(layers.picture, hole, TELEA_RADIUS, cv2.INPAINT_TELEA)
        return replace(layers, plate=np.ascontiguousarray(plate[layers.box]))

    return _other_layers(inpainted)


def without_plate(teacher: SuperFaceTeacherModel) -> Taken:
    """Return layers whose plate is the picture itself, with the person in it."""
    return _other_layers(lambda layers: replace(layers, plate=np.ascontiguousarray(layers.picture[layers.box])))


def without_depth(teacher: SuperFaceTeacherModel) -> Taken:
    """Return layers in which hair and ears move with the plane of the mesh instead of a skull behind it."""
    return patch.object(motion, "head_centre", lambda points, depth: points.double().mean(1))


def torso_follows(share: float) -> Callable[[SuperFaceTeacherModel], Taken]:
    return lambda teacher: _all(*(patch.object(user, "FOLLOWING", share) for user in (motion, outline)))


def by_hand(teacher: SuperFaceTeacherModel) -> Taken:
    """Return layers whose torso begins at one height below the chin, and follows as was chosen before any was fitted."""
    begins = patch.multiple(motion, NECK=motion.FAR_NECK, TORSO=motion.FAR_TORSO, SLANT=0.0)
    return _all(begins, torso_follows(0.3)(teacher))


@contextmanager
def without_volume(teacher: SuperFaceTeacherModel) -> Iterator[None]:
    """Return a teacher whose generator does not see the appearance volume; the motion network still does."""
    empty = teacher.generator.register_forward_pre_hook(lambda _, seen: (torch.zeros_like(seen[0]), *seen[1:]))
    try:
        yield
    finally:
        empty.remove()


PARTS: dict[str, Callable[[SuperFaceTeacherModel], Taken]] = {
    "without matte: all is the person, motion fades": without_matte,
    "without plate: cv2.inpaint": plate_by_opencv,
    "without plate: the picture stays behind": without_plate,
    "without depth: hair lies in the mesh's plane": without_depth,
    "without parts: the torso follows fully": torso_follows(1.0),
    "without parts: the torso rests": torso_follows(0.0),
    "parts as chosen by hand, before they were fitted": by_hand,
    "without volume": without_volume,
}


class Ablation:
    """Renders clips by each row and judges the frames."""

    def __init__(self, teacher: SuperFaceTeacherModel) -> None:
        self.methods = Methods(teacher)
        self.judges = (FeatureNetwork(name="lite0"), FeatureNetwork(name="lite2"))

    @torch.inference_mode()
    def __call__(self, clip: Reenactment) -> dict[str, np.ndarray]:
        """Return for each row the means over the clip's targets, in the order of ``COLUMNS``."""
        asked = (clip.source, clip.source_landmarks, clip.driving, clip.side)
        whole = self.methods.render(*asked)
        frames = {TITLES[method]: whole[method] for method in ("teacher", "layers", "flow")}
        for name, part in PARTS.items():
            with part(self.methods.teacher):
                frames[name] = self.methods.render_teacher(*asked)
        return {name: self._judge(pictures, clip.targets) for name, pictures in frames.items()}

    def _judge(self, frames: np.ndarray, targets: np.ndarray) -> np.ndarray:
        figures = []
        for frame, target in zip(frames, targets, strict=True):
            pictures = torch.from_numpy(np.stack([frame, target])).permute(0, 3, 1, 2).float() / 255
            seen = [judge(pictures) for judge in self.judges]
            distances = [float(perceptual_distance(both[0], both[1])[0]) for both in seen]
            figures.append([*distances, psnr(as_floats(frame), as_floats(target))])
        return np.mean(figures, axis=0)


def _other_layers(change: Callable[[PortraitLayers], PortraitLayers]) -> Taken:
    """Let a teacher use changed layers of each portrait."""
    make = PortraitLayers.make
    return patch.object(PortraitLayers, "make", lambda *args: change(make(*args)))


@contextmanager
def _all(*contexts: Taken) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def print_table(figures: dict[str, np.ndarray]) -> None:
    """Print the figures, and in brackets their difference to the teacher's."""
    print(f"\n| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, row in figures.items():
        more = row - figures[WHOLE]
        cells = [
            f"{value:.3f}" + (f" ({change:+.3f})" if name != WHOLE else "")
            for value, change in zip(row, more, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="folder with clips/val_*.mp4"
    )
    parser.add_argument("--model", default=str(weights_folder("teacher")), help="folder or Hub id of a teacher")
    parser.add_argument("--clips", type=int, help="at most so many clips (default: all)")
    parser.add_argument("--frames", type=int, default=6, help="targets of each clip, evenly spread")
    parser.add_argument("--json", type=Path, help="also write the figures here, those of each clip too")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    paths, tracker = validation_clips(Path(args.data), args.clips), embedded_tracker()
    ablation = Ablation(load_teacher(args.model))
    clips = {
        path.stem: ablation(track_clip(path, args.frames, 3, tracker).spread) for path in tqdm(paths, disable=None)
    }
    mean = {name: np.mean([figures[name] for figures in clips.values()], axis=0) for name in next(iter(clips.values()))}
    print(f"{len(clips)} clips, {args.frames} targets each; means over clips:")
    print_table(mean)
    if args.json:
        content = {"columns": COLUMNS, "frames": args.frames, "mean": mean, "clips": clips}
        args.json.write_text(json.dumps(content, indent=1, default=lambda row: np.round(row, 5).tolist()))


if __name__ == "__main__":
    main()
