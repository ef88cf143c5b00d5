"""Gather what the mouth painter sees, and what it should paint, from clips of talking people.

    python -m superface_hf.data.mouths.gather --data DATA --out .cache/mouths

``DATA`` holds ``clips.csv`` and ``clips/``. The frames of a clip whose mouths are shut most and open most are sources; the
teacher renders the others from each of them, up to the mouth painter, whose inputs are kept beside the true mouth. ``OUT``
gets ``SPLIT/CLIP.npz`` for each clip of 512 pixels; what is there already is left out.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
from ...face_model.topology import LIPS_OUTER, inter_ocular
from ...hub import weights_folder
from ...layers.portrait import PortraitLayers, cut_out
from ...media import VideoReader
from ...models.embedded import embedded_inpainter, embedded_matte, embedded_tracker
from ...models.painters.windows import MOUTH, RegionWindow
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ...renderers.teacher import TeacherRenderer
from ...utils.files import write_arrays

SIDE = 512  # pixels of the clips that are used: smaller ones show no tooth
FRAMES, TARGETS = 24, 8  # of a clip, evenly spread; those that each source drives to
SHUT = 2  # of the targets, so many are taken evenly; the others have the mouths that are open most
AROUND = 9  # cells by which the asked part goes beyond the lips
BATCH = 4
PAINTED = ("shown", "own", "drawn", "shapes")  # the painter's inputs


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
    def opening(self) -> np.ndarray:
        gap = np.linalg.norm(self.landmarks[:, 13, :2] - self.landmarks[:, 14, :2], axis=-1)
        return gap / inter_ocular(self.landmarks)

    def pairs(self) -> Iterator[tuple[int, list[int]]]:
        """Yield sources, each with its targets."""
        by_opening = np.argsort(self.opening)
        for source in (by_opening[0], by_opening[-1]):
            others = by_opening[by_opening != source]
            few = others[: -(TARGETS - SHUT)]
            evenly = few[np.linspace(0, len(few) - 1, SHUT).round().astype(int)] if len(few) else few
            yield int(source), [int(place) for place in np.union1d(evenly, others[-(TARGETS - SHUT) :])]


@contextmanager
def inputs_of(painter: torch.nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """Note the inputs and the stroke of each call of a painter."""
    calls: list[tuple[Tensor, ...]] = []
    handle = painter.register_forward_hook(lambda _, inputs, stroke: calls.append((*inputs, stroke)))
    try:
        yield calls
    finally:
        handle.remove()


def asked_part(mouth: np.ndarray) -> np.ndarray:
    """Return (h, w) uint8: 255 on lips and what they open, falling around them; landmarks (478, 2) in the window's cells."""
    mask: np.ndarray = np.zeros(MOUTH.size, np.uint8)
    cv2.fillPoly(mask, [mouth[LIPS_OUTER].round().astype(np.int32)], 255)
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND + 1,) * 2))
    return cv2.GaussianBlur(mask, (0, 0), AROUND / 3)


@torch.inference_mode()
def mouths_of(clip: SeenClip, teacher: SuperFaceTeacherModel) -> dict[str, np.ndarray]:
    """Return the painter's inputs, the true mouths and what is asked of them, one row a frame."""
    model, rows = FaceModel.default(), []
    face = ShownFaceModel(model)
    for source, targets in clip.pairs():
        portrait = find_portrait(clip.frames[source], embedded_tracker(), model, "largest", teacher.config.image_size)
        own = portrait.crop.to_pixels(portrait.landmarks)
        layers = PortraitLayers.make(clip.frames[source], own, embedded_matte(), embedded_inpainter(), portrait.others)
        meshes = torch.from_numpy(portrait.crop.to_image(clip.landmarks[[source, *targets]]))
        _, motion = model.fit(meshes, clip.fps)
        driving = face.animate(face.neutral_shape(meshes[0], motion[0]), motion)[1:]
        ready = TeacherRenderer(teacher, torch.float32).prepare(portrait, lambda layers=layers: layers)  # type: ignore[misc]
        with inputs_of(teacher.mouth_painter) as calls:
            for part in driving.split(BATCH):
                ready.frames(part)
        *inputs, stroke = (torch.cat(parts) for parts in zip(*calls, strict=True))
        truth = torch.cat([cut_out(clip.frames[place], portrait.crop, SIDE) for place in targets])
        window = RegionWindow.around(driving, MOUTH)
        cells = (window.enter(driving)[..., :2] + torch.tensor([1.0, MOUTH.size[0] / MOUTH.size[1]])) * (
            MOUTH.size[1] / 2
        )
        rows.append(
            {
                **dict(zip(PAINTED, inputs, strict=True)),
                "before": inputs[0] + stroke,
                # The painter works in light that the networks know.
                "target": (window.cut(truth) * ready.prepared.light).clamp(0, 1),
                "asked": torch.from_numpy(np.stack([asked_part(mouth) for mouth in cells.numpy()]))[:, None].float()
                / 255,
            }
        )
    together = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return {name: _stored(name, values.float()) for name, values in together.items()}


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
    parser.add_argument(
        "--teacher", default=str(weights_folder("teacher")), help="whose mouth painter is to be trained"
    )
    parser.add_argument("--skip", nargs="*", default=[], help="clips that are left out, such as those with subtitles")
    options = parser.parse_args()
    teacher: Any = SuperFaceTeacherModel.from_pretrained(options.teacher).eval()
    with (options.data / "clips.csv").open(newline="", encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if int(row["size"]) == SIDE and row["clip"] not in options.skip]
    for row in tqdm(by_variety(clips)):
        path = options.out / row["split"] / f"{Path(row['clip']).stem}.npz"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            arrays = mouths_of(SeenClip.of(options.data / "clips" / row["clip"]), teacher)
        except SuperFaceError as error:
            tqdm.write(f"{row['clip']} is left out: {error}")
            continue
        write_arrays(path, {"repository": np.array(row["repo"]), **arrays})


if __name__ == "__main__":
    main()
