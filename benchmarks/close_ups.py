"""Draw sheets of mouths and eyes at twice their size.

::

    python benchmarks/close_ups.py docs/images/close_ups.jpg               # portraits with shut mouths say the demo's sentence
    python benchmarks/close_ups.py sheets/ --clips $SUPERFACE_DATA/clips   # validation clips: true, untrained layers, teacher

The portraits are in the public domain (see ``hard_cases.py``, which downloads them), or made up by the package. Sheets of clips
are not for publication.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hard_cases import hopper, mona_lisa, morisot, old_master
from PIL import Image
from transformers import pipeline

from superface_hf import SpeechToPortraitPipeline
from superface_hf.evaluation.data import track_clip
from superface_hf.evaluation.methods import Methods
from superface_hf.evaluation.sheets import JPEG_QUALITY
from superface_hf.evaluation.teacher import load_teacher
from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.topology import LEFT_EYE, LIPS_OUTER, RIGHT_EYE, inter_ocular
from superface_hf.hub import weights_folder
from superface_hf.layers.portrait import to_uint8
from superface_hf.media import load_sound
from superface_hf.models.embedded import embedded_tracker
from superface_hf.provenance.marks import picture_marks
from superface_hf.utils.assets import SPEECH

PORTRAITS: tuple[Callable[[], np.ndarray], ...] = (
    hopper,
    mona_lisa,
    partial(old_master, "francisDrake"),
    partial(old_master, "benjaminFranklin"),
    partial(morisot, "self-portrait-1885.jpg"),
    partial(morisot, "young-woman-in-mauve.jpg"),
)
MADE_UP = 4  # faces that nobody has, drawn by the package
MOMENTS, SECONDS = 8, 3.2
MOUTH, EYE_PAIR = (192, 128), (192, 72)  # pixels of a cell: width, height
WIDE = {"mouth": 1.25, "eyes": 1.7}  # how much of a face a cell shows, in distances between the eyes


def close_up(picture: np.ndarray, landmarks: np.ndarray, part: str) -> Image.Image:
    """Return mouth or eyes of a picture (H, W, 3) with landmarks (478, 3) in pixels."""
    ring, size = (LIPS_OUTER, MOUTH) if part == "mouth" else (np.concatenate([LEFT_EYE, RIGHT_EYE]), EYE_PAIR)
    points = landmarks[ring, :2]
    middle = (points.min(0) + points.max(0)) / 2
    half = WIDE[part] * inter_ocular(landmarks) / 2 * np.array([1, size[1] / size[0]])
    box = (*(middle - half), *(middle + half))
    return Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, box=_inside(box, picture))


def _inside(box: tuple[float, ...], picture: np.ndarray) -> tuple[float, float, float, float]:
    height, width = picture.shape[:2]
    left, top = max(0.0, box[0]), max(0.0, box[1])
    return left, top, min(float(width), box[2]), min(float(height), box[3])


def sheet_of(rows: list[list[Image.Image]]) -> np.ndarray:
    """Return rows of cells below each other, (H, W, 3) uint8."""
    return np.concatenate([np.concatenate([np.asarray(cell) for cell in row], axis=1) for row in rows])


def save(path: Path, sheet: np.ndarray) -> None:
    """Write a sheet (H, W, 3) uint8, marked as generated."""
    Image.fromarray(sheet).save(path, quality=JPEG_QUALITY, **picture_marks(path.suffix))


def speaking() -> np.ndarray:
    """Return a sheet whose columns are the portrait as it is and moments of the demo's sentence, the same in all rows."""
    pipe: Any = pipeline("talking-face", device="cpu")  # type: ignore[call-overload]
    samples = load_sound(SPEECH).mono(16000)[: round(16000 * SECONDS)]
    rows: list[list[Image.Image]] = []
    made_up = SpeechToPortraitPipeline.embedded()(
        num_images=MADE_UP, generator=torch.Generator().manual_seed(0), output_type="np"
    )
    for picture in (*(portrait() for portrait in PORTRAITS), *made_up.images):
        points = embedded_tracker().find_faces(picture)[0].landmarks
        clip = pipe(picture, audio=samples, sampling_rate=16000, fps=MOMENTS / SECONDS, idle=False)
        frames = [picture, *clip.frames[1:MOMENTS]]
        rows += [[close_up(frame, points, part) for frame in frames] for part in ("eyes", "mouth")]
    return sheet_of(rows)


def reenacted(path: Path, methods: Methods) -> np.ndarray:
    """Return a sheet of a clip that drives its own first frame.

    Rows are eyes and mouth in the true frames, in the untrained layers' and in the teacher's; columns are the source and
    moments spread over the clip.
    """
    clip = track_clip(path, MOMENTS - 1, 3, embedded_tracker()).spread
    whole = Square(0, 0, clip.side)
    own, meshes = (whole.to_pixels(points.numpy()) for points in (clip.source_landmarks[0], clip.driving))
    made = methods.render(clip.source, clip.source_landmarks, clip.driving, clip.side)
    shown = [(clip.targets, clip.target_landmarks), *((made[name], meshes) for name in ("layers", "teacher"))]
    source = to_uint8(clip.source)[0]
    rows = []
    for part in ("eyes", "mouth"):
        first = close_up(source, own, part)
        for frames, points in shown:
            rows.append([first, *(close_up(*each, part) for each in zip(frames, points, strict=True))])
    return sheet_of(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the picture to write, or with --clips a folder")
    parser.add_argument("--clips", type=Path, help="folder with val_*.mp4")
    options = parser.parse_args()
    if options.clips is None:
        save(options.out, speaking())
        return
    methods = Methods(load_teacher(str(weights_folder("teacher"))))
    options.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.clips.glob("val_*.mp4")):
        save(options.out / f"{path.stem}.png", reenacted(path, methods))
        print(options.out / f"{path.stem}.png", flush=True)


if __name__ == "__main__":
    main()
