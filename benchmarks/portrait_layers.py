"""Measure matte and plate on people in no training set, and draw sheets of them::

    python -m superface_hf.data.pictures.pack --data $SUPERFACE_DATA --models $SUPERFACE_MODELS --out .shards_matte
    python benchmarks/portrait_layers.py --shards .shards_matte --sheets .cache/sheets

The matte is compared with its labels (MediaPipe's selfie segmentation). Plates are compared where the truth is known: another
person's shape is laid beside the person, and the pixels that it covers are filled in; distances are of whole pictures.
Figures of EfficientNet-Lite0 favour the inpainter, which learned with it; no training uses Lite2's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from superface_hf.data.pictures.holes import HoleBatch, fixed_holes
from superface_hf.data.pictures.packed import PackedPictures, load_packed
from superface_hf.layers.matting import cut_out_person, foreground_colours
from superface_hf.layers.plate import make_plate
from superface_hf.media import load_picture
from superface_hf.metrics.features import FeatureNetwork, perceptual_distance
from superface_hf.models.embedded import embedded_inpainter, embedded_matte, embedded_tracker
from superface_hf.models.inpainter import pull_push
from superface_hf.training.matte.trainer import STORED_SIZE, overlaps

ASTRONAUT = Path(__file__).parents[1] / "src/superface_hf/assets/astronaut.png"
GREEN = np.array([0, 177, 64], np.float32)
STEP = 0.04  # of the picture's width: how far a person is moved on the sheet
COLUMNS, TILE = 2, 288  # of a sheet: people in a row, pixels of each picture


def matte_figures(data: PackedPictures) -> None:
    """Print the intersection over union with the labels, in the windows of inference."""
    found = overlaps(embedded_matte(), data, 256).numpy()
    kinds = np.array(data.kinds)
    print("\n| matte against its labels | pictures | mean IoU | median | lowest |\n|---|---|---|---|---|")
    for kind in ("clip", "portrait"):
        part = found[kinds == kind]
        print(f"| {kind}s | {len(part)} | {part.mean():.3f} | {np.median(part):.3f} | {part.min():.3f} |")
    print(f"| all | {len(found)} | {found.mean():.3f} | {np.median(found):.3f} | {found.min():.3f} |")
    worst = found.argsort()[:5]
    print("lowest:", ", ".join(f"{data.names[n]} {found[n]:.2f}" for n in worst))


def plate_figures(data: PackedPictures, every: int) -> None:
    """Print perceptual distances and PSNR of several ways to fill holes."""
    holes = fixed_holes(data, STORED_SIZE)
    inpainter = embedded_inpainter()
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "pull-push": pull_push,
        "cv2.inpaint, Telea": lambda picture, known: _by_opencv(picture, known, cv2.INPAINT_TELEA),
        "cv2.inpaint, Navier-Stokes": lambda picture, known: _by_opencv(picture, known, cv2.INPAINT_NS),
        "inpainter": lambda picture, known: inpainter(picture, known).pictures,
    }
    judges = [FeatureNetwork(name="lite0"), FeatureNetwork(name="lite2")]
    print("\n| plate | perceptual distance (Lite0) | (Lite2) | PSNR in the hole, dB |\n|---|---|---|---|")
    for name, way in ways.items():
        distances, errors = [], []
        for number in range(0, len(holes.pictures), every):
            picture, known, asked = (x[number : number + 1] for x in (holes.pictures, holes.known, holes.asked))
            if not asked.any():
                continue
            together = torch.where(asked > 0, way(picture, known), picture)
            distances.append([perceptual_distance(judge(together), judge(picture))[0] for judge in judges])
            error = float(((together - picture).square() * asked).sum() / (3 * asked.sum()))
            errors.append(-10 * np.log10(max(error, 1e-6)))
        lite0, lite2 = np.mean(distances, axis=0)
        print(f"| {name} | {lite0:.4f} | {lite2:.4f} | {np.mean(errors):.2f} |", flush=True)


def _by_opencv(picture: Tensor, known: Tensor, how: int) -> Tensor:
    image = (picture[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    hole = (known[0, 0].numpy() == 0).astype(np.uint8)
    return torch.from_numpy(cv2.inpaint(image, hole, 5, how)).permute(2, 0, 1)[None].float() / 255


def costs() -> None:
    """Print the processor time of a portrait's layers in seconds, on one core."""
    small, tracker, matte, inpainter = (
        load_picture(ASTRONAUT),
        embedded_tracker(),
        embedded_matte(),
        embedded_inpainter(),
    )
    points = tracker.find_faces(small)[0].landmarks
    print("\n| seconds of one core | matte | own colours | plate | together |\n|---|---|---|---|---|")
    for size in (512, 1024, 2160):
        scale = size / len(small)
        picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        best = np.full(3, np.inf)
        for _ in range(3):
            times = [time.process_time()]
            alpha = cut_out_person(picture, points * scale, matte)
            times.append(time.process_time())
            foreground_colours(picture, alpha)
            times.append(time.process_time())
            make_plate(picture, alpha, inpainter)
            times.append(time.process_time())
            best = np.minimum(best, np.diff(times))
        print(f"| {size} x {size} | " + " | ".join(f"{seconds:.2f}" for seconds in (*best, best.sum())) + " |")


def draw_people(data: PackedPictures, path: Path) -> None:
    """Draw people, the same over green, their plates, and people moved a little aside."""
    tracker, matte, inpainter = embedded_tracker(), embedded_matte(), embedded_inpainter()
    tiles = []
    for number in range(len(data)):
        if data.kinds[number] == "clip" and number % 6:
            continue
        picture = np.ascontiguousarray(data.pictures[number].permute(1, 2, 0).numpy())
        faces = tracker.find_faces(picture)
        if not faces:
            continue
        alpha = cut_out_person(picture, faces[0].landmarks, matte, [face.landmarks for face in faces[1:]])
        colours, plate = foreground_colours(picture, alpha), make_plate(picture, alpha, inpainter)
        step = np.array([[1, 0, STEP * len(picture)], [0, 1, 0]], np.float32)
        moved, moved_alpha = (
            cv2.warpAffine(x, step, x.shape[1::-1], borderMode=cv2.BORDER_REPLICATE) for x in (colours, alpha)
        )
        tiles.append(_tile([picture, _over(colours, alpha, GREEN), plate, _over(moved, moved_alpha, plate)]))
    _write(path, tiles)


def draw_holes(holes: HoleBatch, path: Path) -> None:
    """Draw pictures, their holes, and the holes filled by OpenCV, by pull-push and by the inpainter."""
    inpainter = embedded_inpainter()
    tiles = []
    for number in range(0, len(holes.pictures), 3):
        picture, known = holes.pictures[number : number + 1], holes.known[number : number + 1]
        output = inpainter(picture, known)
        given = torch.where(known > 0, picture, torch.full_like(picture, 0.5))
        ways = (picture, given, _by_opencv(picture, known, cv2.INPAINT_TELEA), output.fill, output.pictures)
        tiles.append(_tile([(x[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8) for x in ways]))
    _write(path, tiles)


def _tile(parts: list[np.ndarray]) -> np.ndarray:
    return np.hstack([cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_AREA) for part in parts])


def _over(colours: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    return (alpha[..., None] * colours + (1 - alpha[..., None]) * behind + 0.5).astype(np.uint8)


def _write(path: Path, tiles: list[np.ndarray]) -> None:
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="Measures matte and plate on held-out people.")
    parser.add_argument("--shards", type=Path, required=True, help="folder made by superface_hf.data.pictures.pack")
    parser.add_argument("--every", type=int, default=1, help="fill the holes of every so many pictures only")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = load_packed(options.shards, "val", STORED_SIZE)
    costs()
    matte_figures(data)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        draw_people(data, options.sheets / "people.jpg")
        draw_holes(fixed_holes(data, STORED_SIZE), options.sheets / "holes.jpg")
    plate_figures(data, options.every)


if __name__ == "__main__":
    main()
