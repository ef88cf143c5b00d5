"""Measure the face tracker on held-out people, pictures without a face, made-up scenes and a still video::

    python benchmarks/tracker.py --data $SUPERFACE_DATA --prepared .cache/prepared

Landmark errors are mean 2D distances to the official face landmarker's labels in percent of the distance between the outer
eye corners. Speed is the tracker's alone: frames are decoded before. Movements are measured on the val clips as they are and
shrunk to 256 pixels; ``--landmarker face_landmarker.task`` adds the official landmarker's own mouth and jaw blendshapes (needs
``pip install ai-edge-litert``). All parts take a quarter of an hour on one core; ``--parts clips speed`` measures these two.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from official_scores import OfficialScores
from PIL import Image

from superface_hf.data.prepared_set import load_clips
from superface_hf.data.tracker.crops import (
    FACELESS_TEST,
    background_crops,
    clip_sources,
    faceless_pictures,
    portrait_sources,
)
from superface_hf.data.tracker.scenes import SceneMaker
from superface_hf.face_model.linear import FaceModel
from superface_hf.face_model.topology import (
    EYE_CORNERS,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_IRIS,
    LEFT_LIDS,
    RIGHT_BROW,
    RIGHT_IRIS,
    RIGHT_LIDS,
    inter_ocular,
)
from superface_hf.media import VideoReader
from superface_hf.models.tracker.base import Face
from superface_hf.models.tracker.detection import box_overlap
from superface_hf.models.tracker.modeling_tracker import SuperFaceTrackerModel
from superface_hf.motion.arkit import ARKIT_NAMES, arkit_index

TRACKER_WEIGHTS = Path(__file__).parents[1] / "src/superface_hf/weights/tracker"
# Held-out portraits that are drawn, painted or rendered; the rest are photographs or look like them.
DRAWN = frozenset({0, 5, 10, 15, 35, 40, 55, 75, 90, 105})


@dataclass
class Tally:
    """Faces wanted and found, and the errors of those found, percent of the eye distance."""

    wanted: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, faces: list[Face], label: np.ndarray) -> None:
        """Count a labelled face (478, 3) and the find that covers it, if there is one."""
        self.wanted += 1
        target = Face.of(label, 1.0)
        match = max(faces, key=lambda face: box_overlap(face.box, target.box), default=None)
        if match is not None and box_overlap(match.box, target.box) > 0.5:
            distance = np.linalg.norm(match.landmarks[:, :2] - label[:, :2], axis=-1).mean()
            self.errors.append(100 * float(distance / inter_ocular(label[:, :2])))

    def __str__(self) -> str:
        if not self.errors:
            return f"found 0/{self.wanted}"
        mean, median, tail = np.mean(self.errors), np.median(self.errors), np.percentile(self.errors, 95)
        recall = 100 * len(self.errors) / self.wanted
        return (
            f"error {mean:5.2f}% (median {median:.2f}, 95th {tail:.2f})  recall {recall:6.2f}% "
            f"({len(self.errors)}/{self.wanted})"
        )


@dataclass
class Movement:
    """How much of a movement (an offset from its clip's mean) is seen, over clips."""

    true: list[np.ndarray] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)

    def add(self, true: np.ndarray, seen: np.ndarray) -> None:
        """Add values (T, ...) of the labels and of the tracker for one clip."""
        self.true.append((true - true.mean(axis=0)).ravel())
        self.seen.append((seen - seen.mean(axis=0)).ravel())

    def __str__(self) -> str:
        true, seen = np.concatenate(self.true), np.concatenate(self.seen)
        if not true.any():
            return "never moves"
        slope = (true * seen).sum() / (true**2).sum()
        return f"slope {slope:.2f}  correlation {np.corrcoef(true, seen)[0, 1]:.2f}"


def lid_opening(meshes: np.ndarray) -> np.ndarray:
    """Return the mean gap between the lids of both eyes over the eye distance, (T,), of landmarks (T, 478, 3)."""
    upper, lower = np.array(LEFT_LIDS + RIGHT_LIDS).T
    return np.linalg.norm(meshes[:, upper] - meshes[:, lower], axis=-1).mean(axis=1) / inter_ocular(meshes)


def gaze(meshes: np.ndarray) -> np.ndarray:
    """Return the irises' offsets from the middle of their eyes' corners over the eye distance, (T, 2 eyes, 2), of
    landmarks (T, 478, 3)."""
    corners = meshes[:, EYE_CORNERS].reshape(-1, 2, 2, 3).mean(axis=2)
    irises = meshes[:, [RIGHT_IRIS[0], LEFT_IRIS[0]]]
    return ((irises - corners) / inter_ocular(meshes)[:, None, None])[..., :2]


def mouth_opening(meshes: np.ndarray) -> np.ndarray:
    """Return the mean gap between the inner lips over the eye distance, (T,), of landmarks (T, 478, 3)."""
    upper, lower = np.array(INNER_LIPS).T
    return np.linalg.norm(meshes[:, upper] - meshes[:, lower], axis=-1).mean(axis=1) / inter_ocular(meshes)


def mouth_width(meshes: np.ndarray) -> np.ndarray:
    """Return the distance of the mouth's corners over the eye distance, (T,), of landmarks (T, 478, 3)."""
    return np.linalg.norm(meshes[:, 61] - meshes[:, 291], axis=-1) / inter_ocular(meshes)


def lip_thickness(meshes: np.ndarray) -> np.ndarray:
    """Return how thick the upper and the lower lip are in their middle, over the eye distance, (T, 2), of landmarks
    (T, 478, 3): what pressing, rolling and pursing changes."""
    outer, inner = meshes[:, [0, 17]], meshes[:, [13, 14]]
    return np.linalg.norm(outer - inner, axis=-1) / inter_ocular(meshes)[:, None]


def mouth_corners(meshes: np.ndarray) -> np.ndarray:
    """Return the distance of each corner of the mouth from the nose's bridge over the eye distance, (T, 2), of
    landmarks (T, 478, 3)."""
    bridge = meshes[:, [6, 6]]
    return np.linalg.norm(meshes[:, [61, 291]] - bridge, axis=-1) / inter_ocular(meshes)[:, None]


def jaw_drop(meshes: np.ndarray) -> np.ndarray:
    """Return the distance of the chin from the nose's bridge over the eye distance, (T,), of landmarks (T, 478, 3)."""
    return np.linalg.norm(meshes[:, 152] - meshes[:, 6], axis=-1) / inter_ocular(meshes)


def brow_height(meshes: np.ndarray) -> np.ndarray:
    """Return the height of the brows above their eyes' corners over the eye distance, (T, 2), of landmarks (T, 478, 3)."""
    pairs = ((RIGHT_BROW, [33, 133]), (LEFT_BROW, [263, 362]))
    gaps = [np.linalg.norm(meshes[:, b].mean(axis=1) - meshes[:, e].mean(axis=1), axis=-1) for b, e in pairs]
    return np.stack(gaps, axis=1) / inter_ocular(meshes)[:, None]


MOVEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lids open and close": lid_opening,
    "gaze to the sides": lambda meshes: gaze(meshes)[..., 0],
    "gaze up and down": lambda meshes: gaze(meshes)[..., 1],
    "brows": brow_height,
    "mouth opens and closes": mouth_opening,
    "mouth's width": mouth_width,
    "upper lip's thickness": lambda meshes: lip_thickness(meshes)[:, 0],
    "lower lip's thickness": lambda meshes: lip_thickness(meshes)[:, 1],
    "mouth's corners": mouth_corners,
    "jaw drops": jaw_drop,
}


def video_clips(
    model: SuperFaceTrackerModel, data: Path, prepared: Path, official: OfficialScores | None, frames: int | None
) -> None:
    """Measure every frame of the val clips with ``follow``, unchanged and shrunk to 256 pixels, and the kept frames
    alone with ``find_faces``."""
    for side in (None, 256):
        followed(model, data, prepared, side, official, frames)
    still = Tally()
    for source in clip_sources(prepared, "val", frames=60):
        still.add(model.find_faces(source.picture()), source.faces[0])
    print(f"val clips, single frames      {still}")


def followed(
    model: SuperFaceTrackerModel,
    data: Path,
    prepared: Path,
    side: int | None,
    official: OfficialScores | None,
    frames: int | None,
) -> None:
    """Measure every frame of the val clips with ``follow``, shrunk to ``side`` pixels where they are larger."""
    whole, movements = Tally(), {name: Movement() for name in MOVEMENTS}
    names = [name for name in ARKIT_NAMES if name.startswith(("mouth", "jaw"))]
    scores = {name: (Movement(), Movement()) for name in names}
    for clip in load_clips(prepared, "val", pictures=False):
        tally = Tally()
        shrink = min(1.0, side / max(clip.size)) if side else 1.0
        faces = model.follow(shrunk(islice(VideoReader(data / "clips" / clip.origin.raw), frames), shrink))
        pairs = []
        for face, label, found in zip(faces, clip.landmarks, clip.found, strict=False):
            if found:
                for counted in (tally, whole):
                    counted.add([face] if face else [], label * shrink)
                if face:
                    pairs.append((label, face.landmarks / np.float32(shrink)))
        true, seen = (np.stack(meshes) for meshes in zip(*pairs, strict=True))
        for name, measure in MOVEMENTS.items():
            movements[name].add(measure(true), measure(seen))
        ours = [FaceModel.default().fit(meshes, clip.fps)[1].to_arkit() for meshes in (true, seen)]
        theirs = [official(meshes) for meshes in (true, seen)] if official else None
        for name in names:
            slot = arkit_index(name)
            for movement, both in zip(scores[name], (ours, theirs), strict=True):
                if both is not None:
                    movement.add(both[0][:, slot], both[1][:, slot])
        print(f"  {clip.name}  {tally}")
    print(f"val clips, followed{f' at {side} px' if side else '':10s} {whole}")
    for name, movement in movements.items():
        print(f"  {name:27s} {movement}")
    print(f"  mouth and jaw blendshapes, {'through Motion; the landmarker' if official else 'through Motion'}")
    for name, (ours_seen, theirs_seen) in scores.items():
        print(f"    {name:25s} {ours_seen}{f'; {theirs_seen}' if official else ''}")


def shrunk(frames: Iterable[np.ndarray], share: float) -> Iterator[np.ndarray]:
    """Yield the frames at this share of their size."""
    for frame in frames:
        size = (round(frame.shape[1] * share), round(frame.shape[0] * share))
        yield frame if share == 1 else np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def portraits(model: SuperFaceTrackerModel, prepared: Path) -> None:
    for name in ("portraits_large", "portraits_small"):
        everything, photographs = Tally(), Tally()
        for source in portrait_sources(prepared, name, held_out=True):
            faces = model.find_faces(source.picture())
            for label in source.faces:
                everything.add(faces, label)
                if source.number not in DRAWN:
                    photographs.add(faces, label)
        print(f"val {name}, all    {everything}")
        if name == "portraits_large":
            print(f"val {name}, photos {photographs}")


def false_positives(model: SuperFaceTrackerModel, data: Path, prepared: Path) -> None:
    """Count finds in pictures without a face that are in no training set: whole, in parts, and backgrounds of val
    pictures."""
    random = np.random.default_rng(0)
    pictures = faceless_pictures(FACELESS_TEST)
    parts = []
    for picture in pictures:
        for _ in range(20):
            side = int(random.integers(64, min(picture.shape[:2]) + 1))
            y, x = (int(random.integers(0, length - side + 1)) for length in picture.shape[:2])
            parts.append(picture[y : y + side, x : x + side])
    sources = [*clip_sources(prepared, "val", 6), *portrait_sources(prepared, "portraits_large", True)]
    around = [part for source in sources for part in background_crops(source, random, 4)]
    total, wrong = 0, 0
    for name, group in (
        ("scikit-image pictures", pictures),
        ("parts of them", parts),
        ("backgrounds of val pictures", around),
    ):
        bad = sum(bool(model.find_faces(picture)) for picture in group)
        print(f"  {name}: {bad} of {len(group)} with a false face")
        total, wrong = total + len(group), wrong + bad
    print(f"false positives               {100 * wrong / total:.2f}% ({wrong}/{total} pictures)")


def scenes(model: SuperFaceTrackerModel, data: Path, prepared: Path, count: int = 300) -> None:
    """Measure held-out faces pasted on unseen backgrounds: recall by size and roll."""
    sources = [*clip_sources(prepared, "val", 8), *portrait_sources(prepared, "portraits_large", True)]
    shares = {"clips": 0.5, "portraits_large": 0.5}
    make = SceneMaker(sources, faceless_pictures(FACELESS_TEST), shares, size=512, seed=3)
    rows: list[tuple[float, float, bool]] = []
    extra = 0
    for _ in range(count):
        square, wanted = make()
        faces = model.find_faces(square)
        hits = 0
        for crop in wanted:
            centre = np.array([crop.x, crop.y])
            hit = any(
                np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre) < crop.size / 4
                and 0.6 < np.ptp(face.box.reshape(2, 2), axis=0).max() / crop.size < 1.7
                for face in faces
            )
            hits += hit
            rows.append((crop.size / 512, abs(np.degrees(crop.angle)), hit))
        extra += max(0, len(faces) - hits)
    size, roll, hit = np.array(rows).T
    print(f"scenes: recall {100 * hit.mean():.1f}% of {len(hit)} faces, {extra} false faces in {count} scenes")
    for low, high in ((0.06, 0.1), (0.1, 0.2), (0.2, 0.5), (0.5, 1.2)):
        chosen = (size >= low) & (size < high)
        print(
            f"  face {100 * low:.0f} to {100 * high:.0f}% of the side: {100 * hit[chosen].mean():.1f}% of {chosen.sum()}"
        )
    for low, high in ((0, 15), (15, 30), (30, 45)):
        chosen = (roll >= low) & (roll < high) & (size >= 0.1)
        print(f"  roll {low} to {high} degrees: {100 * hit[chosen].mean():.1f}% of {chosen.sum()}")


def speed(model: SuperFaceTrackerModel, data: Path) -> None:
    frames = list(VideoReader(data / "clips" / "val_062.mp4"))[:120]
    list(model.follow(frames[:20]))
    start = time.perf_counter()
    list(model.follow(frames))
    follow = len(frames) / (time.perf_counter() - start)
    start = time.perf_counter()
    for frame in frames[:30]:
        model.find_faces(frame)
    find = 30 / (time.perf_counter() - start)
    height, width = frames[0].shape[:2]
    threads = torch.get_num_threads()
    print(
        f"speed on {width}x{height} video      follow {follow:.0f} frames/s, find_faces {find:.0f} pictures/s "
        f"({threads} threads, load {os.getloadavg()[0]:.1f})"
    )


def stillness(model: SuperFaceTrackerModel) -> None:
    """Measure a still photograph, as raw frames and through H.264: the jitter of landmarks in percent of the face's width."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    picture = np.asarray(Image.open(path).convert("RGB"))
    for name, frames in (("raw", [picture] * 30), ("H.264", compressed(picture, 60))):
        faces = [face for face in model.follow(frames) if face]
        points = np.stack([face.landmarks[:, :2] for face in faces])
        width = np.ptp(points[0, :, 0])
        shake = np.linalg.norm(points - points.mean(axis=0), axis=-1) / width * 100
        print(
            f"still photograph, {name:6s}      shake {shake.mean():.3f}% mean, {shake.max():.3f}% at most ({len(faces)} frames)"
        )


def compressed(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the picture as ``count`` frames after H.264 at crf 23."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(count):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


PARTS = ("clips", "portraits", "false-positives", "scenes", "stillness", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="folder with clips.csv")
    parser.add_argument("--prepared", type=Path, default=Path(".cache/prepared"))
    parser.add_argument("--model", type=Path, default=TRACKER_WEIGHTS)
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task, for its own blendshapes")
    parser.add_argument("--frames", type=int, help="of each val clip only the first so many")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data or set SUPERFACE_DATA")
    data = Path(args.data)
    torch.set_num_threads(args.threads)
    model = SuperFaceTrackerModel.from_pretrained(args.model).eval()
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{millions:.2f} M parameters, {(args.model / 'model.safetensors').stat().st_size / 1e6:.1f} MB on disk")
    official = OfficialScores(args.landmarker) if args.landmarker else None
    measures: dict[str, Callable[[], None]] = {
        "clips": lambda: video_clips(model, data, args.prepared, official, args.frames),
        "portraits": lambda: portraits(model, args.prepared),
        "false-positives": lambda: false_positives(model, data, args.prepared),
        "scenes": lambda: scenes(model, data, args.prepared),
        "stillness": lambda: stillness(model),
        "speed": lambda: speed(model, data),
    }
    for part in args.parts:
        measures[part]()


if __name__ == "__main__":
    main()
