"""Gather what the painters of mouth and eyes see, and what they should paint, from clips of talking people.

    python -m superface_hf.data.regions.gather --data DATA --out .cache/regions

``DATA`` holds ``clips.csv`` and ``clips/``. The frames of a clip whose mouths are shut most and open most are sources; the
teacher renders others from each of them, up to the painters, whose inputs are kept beside the true mouth and eyes. ``OUT``
gets ``mouth/SPLIT/CLIP.npz`` and ``eyes/SPLIT/CLIP.npz`` for each clip of 512 pixels; what is there already is left out.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...animation.portrait import find_portrait
from ...errors import SuperFaceError
from ...face_model.emphasis import ShownFaceModel
from ...face_model.linear import FaceModel
from ...face_model.topology import LEFT_LIDS, RIGHT_LIDS, inter_ocular, lid_gap
from ...hub import weights_folder
from ...layers.portrait import PortraitLayers, cut_out
from ...media import VideoReader
from ...models.embedded import embedded_inpainter, embedded_matte, embedded_tracker
from ...models.painters.windows import Region, RegionWindow
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ...renderers.teacher import TeacherRenderer
from ...utils.files import write_arrays
from .windows import PAINTED, PAINTER_INPUTS

SIDE = 512  # pixels of the clips that are used: smaller ones show no tooth
FRAMES, TARGETS = 24, 8  # of a clip, evenly spread; those that each source drives to
SHUT, BLINKING = (
    2,
    2,
)  # so many targets are taken evenly, and have the eyes that are shut most; the others' mouths are open most
AROUND = 9  # cells by which the asked part goes beyond lips or lids
BATCH = 4


@dataclass(frozen=True, eq=False)
class SeenClip:
    """Square frames of a clip, their landmarks (T, 478, 3) in pixels, and how far each mouth is open."""

    frames: list[np.ndarray]
    landmarks: np.ndarray
    fps: float

    @classmethod
    def of(cls, path: Path) -> SeenClip:
        """Read and track a clip.

        Raises:
            SuperFaceError: too few frames show a face.
        """
        reader = VideoReader(path)
        every = list(reader)
        places = np.unique(np.linspace(0, len(every) - 1, FRAMES).round().astype(int))
        chosen = [np.ascontiguousarray(every[place][:SIDE, :SIDE]) for place in places]
        faces = embedded_tracker().follow(iter(chosen))
        found = [(frame, face.landmarks) for frame, face in zip(chosen, faces, strict=True) if face is not None]
        if len(found) <= TARGETS:
            raise SuperFaceError(f"{path} shows a face in {len(found)} of {len(chosen)} frames.")
        return cls([frame for frame, _ in found], np.stack([landmarks for _, landmarks in found]), reader.fps)

    @property
    def eyes(self) -> np.ndarray:
        """How far the eyes of each frame are open, (T,)."""
        gaps = [lid_gap(self.landmarks[..., :2], lids) for lids in (LEFT_LIDS, RIGHT_LIDS)]
        return np.mean(gaps, axis=0) / inter_ocular(self.landmarks)

    @property
    def opening(self) -> np.ndarray:
        gap = np.linalg.norm(self.landmarks[:, 13, :2] - self.landmarks[:, 14, :2], axis=-1)
        return gap / inter_ocular(self.landmarks)

    def pairs(self) -> Iterator[tuple[int, list[int]]]:
        """Yield sources, each with its targets."""
        by_opening, by_eyes = np.argsort(self.opening), np.argsort(self.eyes)
        for source in (int(by_opening[0]), int(by_opening[-1])):
            blinking = [int(place) for place in by_eyes if place != source][:BLINKING]
            others = [int(place) for place in by_opening if place not in (source, *blinking)]
            wide = TARGETS - SHUT - BLINKING
            few = others[:-wide]
            evenly = [few[place] for place in np.linspace(0, len(few) - 1, SHUT).round().astype(int)]
            yield source, sorted({*blinking, *evenly, *others[-wide:]})


@contextmanager
def inputs_of(painter: torch.nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """Note the inputs and the stroke of each call of a painter."""
    calls: list[tuple[Tensor, ...]] = []
    handle = painter.register_forward_hook(lambda _, inputs, stroke: calls.append((*inputs, stroke)))
    try:
        yield calls
    finally:
        handle.remove()


def asked_part(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) uint8: 255 on what a ring of landmarks (P, 2) in cells encloses, falling around it."""
    mask: np.ndarray = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 255)
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND + 1,) * 2))
    return cv2.GaussianBlur(mask, (0, 0), AROUND / 3)


def true_windows(truth: Tensor, driving: Tensor, region: Region) -> dict[str, Tensor]:
    """Return the true windows (B, 3, h, w) of one region, and what is asked of them."""
    window = RegionWindow.around(driving, region)
    height, width = region.size
    cells = (window.enter(driving)[:, region.points, :2] + torch.tensor([1.0, height / width])) * (width / 2)
    asked = np.stack([asked_part(ring, region.size) for ring in cells.numpy()])
    return {"target": window.cut(truth), "asked": torch.from_numpy(asked)[:, None].float() / 255}


@torch.inference_mode()
def windows_of(clip: SeenClip, teacher: SuperFaceTeacherModel) -> dict[str, dict[str, np.ndarray]]:
    """Return by region the painter's inputs, the true windows and what is asked of them, one row a window."""
    model = FaceModel.default()
    face = ShownFaceModel(model)
    rows: dict[str, list[dict[str, Tensor]]] = {name: [] for name in PAINTED}
    for source, targets in clip.pairs():
        portrait = find_portrait(clip.frames[source], embedded_tracker(), model, "largest", teacher.config.image_size)
        own = portrait.crop.to_pixels(portrait.landmarks)
        layers = PortraitLayers.make(clip.frames[source], own, embedded_matte(), embedded_inpainter(), portrait.others)
        meshes = torch.from_numpy(portrait.crop.to_image(clip.landmarks[[source, *targets]]))
        _, motion = model.fit(meshes, clip.fps)
        driving = face.animate(face.neutral_shape(meshes[0], motion[0]), motion)[1:]
        truth = torch.cat([cut_out(clip.frames[place], portrait.crop, SIDE) for place in targets])
        ready = TeacherRenderer(teacher, torch.float32).prepare(portrait, lambda layers=layers: layers)  # type: ignore[misc]
        for part, true in zip(driving.split(BATCH), truth.split(BATCH), strict=True):
            with ExitStack() as stack:
                calls = {name: stack.enter_context(inputs_of(kind.painter(teacher))) for name, kind in PAINTED.items()}
                ready.frames(part)
            for name, kind in PAINTED.items():
                ((*inputs, stroke),) = calls[name]
                asked = [true_windows(true, part, region) for region in kind.regions]
                row = {each: torch.cat([one[each] for one in asked]) for each in asked[0]}
                # Painters work in light that the networks know.
                row["target"] = (row["target"] * ready.prepared.light).clamp(0, 1)
                rows[name].append(row | {"before": inputs[0] + stroke} | dict(zip(PAINTER_INPUTS, inputs, strict=True)))
    return {
        name: {each: _stored(each, torch.cat([row[each] for row in several]).float()) for each in several[0]}
        for name, several in rows.items()
    }


def _stored(name: str, values: Tensor) -> np.ndarray:
    if name in ("drawn", "shapes"):
        return values.numpy().astype(np.float16)
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()


def by_variety(clips: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows of ``clips.csv``, validation clips first, then one of each repository, then a second one, and so on: what is
    gathered in the first minutes is as varied as can be."""
    before: Counter[str] = Counter()
    ranks = []
    for row in clips:
        ranks.append((row["split"] != "val", before[row["repo"]]))
        before[row["repo"]] += 1
    return [clips[place] for place in sorted(range(len(clips)), key=ranks.__getitem__)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clips.csv and clips/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", default=str(weights_folder("teacher")), help="whose painters are to be trained")
    parser.add_argument("--skip", nargs="*", default=[], help="clips that are left out, such as those with subtitles")
    options = parser.parse_args()
    teacher: Any = SuperFaceTeacherModel.from_pretrained(options.teacher).eval()
    with (options.data / "clips.csv").open(newline="", encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if int(row["size"]) == SIDE and row["clip"] not in options.skip]
    for row in tqdm(by_variety(clips)):
        paths = {name: options.out / name / row["split"] / f"{Path(row['clip']).stem}.npz" for name in PAINTED}
        if all(path.exists() for path in paths.values()):
            continue
        try:
            windows = windows_of(SeenClip.of(options.data / "clips" / row["clip"]), teacher)
        except SuperFaceError as error:
            tqdm.write(f"{row['clip']} is left out: {error}")
            continue
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, {"repository": np.array(row["repo"]), **windows[name]})


if __name__ == "__main__":
    main()
