"""Turns the raw clips and portraits into tracked, cached training sets.

Run once before any training::

    python -m superface_hf.training.prepare --data $SUPERFACE_DATA --landmarker face_landmarker.task --out .cache/prepared

Every frame is labelled by the official face landmarker (extra ``[mediapipe]``); a subset of frames is kept as JPEG for the
trainers that need pixels. One ``.npz`` a clip, one for each portrait table.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from tqdm import tqdm


@dataclass(frozen=True)
class PreparedClip:
    """A tracked clip.

    Attributes:
        landmarks: (T, 478, 3) float32, pixels of the clip's own frames; x right, y down, z toward the camera.
        blendshapes: (T, 52) float32 ARKit scores in [0, 1], in the landmarker's order (see ``face_model.arkit``).
        found: (T,) bool, whether the landmarker saw a face.
        jpeg_index: (J,) the frames kept as pictures.
        jpegs: J encoded pictures.
        size: (height, width) of a frame in pixels.
    """

    name: str
    split: str
    fps: float
    size: tuple[int, int]
    landmarks: np.ndarray
    blendshapes: np.ndarray
    found: np.ndarray
    jpeg_index: np.ndarray
    jpegs: list[bytes]

    def picture(self, position: int) -> np.ndarray:
        """The ``position``-th kept picture, (H, W, 3) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.jpegs[position])).convert("RGB"))

    @classmethod
    def load(cls, path: Path) -> PreparedClip:
        with np.load(path, allow_pickle=False) as data:
            offsets = data["jpeg_offsets"]
            blob = data["jpeg_blob"].tobytes()
            return cls(
                name=path.stem,
                split=str(data["split"]),
                fps=float(data["fps"]),
                size=(int(data["size"][0]), int(data["size"][1])),
                landmarks=data["landmarks"],
                blendshapes=data["blendshapes"],
                found=data["found"],
                jpeg_index=data["jpeg_index"],
                jpegs=[blob[a:b] for a, b in itertools.pairwise(offsets)],
            )


def load_clips(prepared: Path, split: str) -> Iterator[PreparedClip]:
    """The prepared clips of one split, in name order."""
    for path in sorted((prepared / "clips").glob(f"{split}_*.npz")):
        yield PreparedClip.load(path)


class Landmarker:
    """The official face landmarker, giving labels in this project's conventions."""

    def __init__(self, model_path: Path, max_faces: int = 1) -> None:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model_path)),
            output_face_blendshapes=True,
            num_faces=max_faces,
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def __call__(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Faces of an (H, W, 3) uint8 picture: (478, 3) pixels and (52,) blendshape scores each."""
        import mediapipe as mp

        height, width = image.shape[:2]
        result = self._landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image)))
        faces = []
        for points, scores in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            # The landmarker's z grows away from the camera and has the scale of x.
            landmarks = np.array([(p.x * width, p.y * height, -p.z * width) for p in points], np.float32)
            faces.append((landmarks, np.array([s.score for s in scores], np.float32)))
        return faces


def decode_video(path: Path) -> Iterator[np.ndarray]:
    """Frames of a video, (H, W, 3) uint8 each."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def prepare_clip(row: dict[str, str], data: Path, landmarker_path: Path, out: Path, quality: int) -> str:
    target = out / "clips" / f"{Path(row['clip']).stem}.npz"
    if target.exists():
        return target.name
    landmarker = Landmarker(landmarker_path)
    # Long clips change little from frame to frame: keep their pictures more sparsely.
    stride = 3 if float(row["seconds"]) < 8 else 6
    landmarks, blendshapes, found, jpegs, jpeg_index = [], [], [], [], []
    for index, frame in enumerate(decode_video(data / "clips" / row["clip"])):
        faces = landmarker(frame)
        found.append(bool(faces))
        points, scores = faces[0] if faces else (np.zeros((478, 3), np.float32), np.zeros(52, np.float32))
        landmarks.append(points)
        blendshapes.append(scores)
        if index % stride == 0 and faces:
            jpegs.append(encode_jpeg(frame, quality))
            jpeg_index.append(index)
    write_clip(
        target,
        split=row["split"],
        fps=float(row["fps"]),
        size=frame.shape[:2],
        landmarks=np.stack(landmarks),
        blendshapes=np.stack(blendshapes),
        found=np.array(found),
        jpeg_index=np.array(jpeg_index, np.int64),
        jpegs=jpegs,
    )
    return target.name


def prepare_portraits(table: Path, landmarker_path: Path, out: Path, quality: int, max_side: int = 1024) -> None:
    """One ``.npz``: pictures, and for each face found the picture it is in and its landmarks."""
    import pyarrow.parquet as pq

    target = out / f"{table.stem}.npz"
    if target.exists():
        return
    landmarker = Landmarker(landmarker_path, max_faces=4)
    jpegs, picture_of, landmarks, blendshapes = [], [], [], []
    for number, record in enumerate(tqdm(pq.read_table(table).to_pylist(), desc=table.stem)):
        picture = Image.open(io.BytesIO(record["image"]["bytes"])).convert("RGB")
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        image = np.asarray(picture)
        jpegs.append(encode_jpeg(image, quality))
        for points, scores in landmarker(image):
            picture_of.append(number)
            landmarks.append(points)
            blendshapes.append(scores)
    _write_npz(
        target,
        picture_of=np.array(picture_of),
        landmarks=np.stack(landmarks),
        blendshapes=np.stack(blendshapes),
        **_pack(jpegs),
    )


def write_clip(target: Path, *, jpegs: list[bytes], **fields: Any) -> None:
    """Writes the fields of a :class:`PreparedClip` (all but its name) for :meth:`PreparedClip.load`."""
    _write_npz(target, **fields, **_pack(jpegs))


def _pack(jpegs: list[bytes]) -> dict[str, np.ndarray]:
    return {
        "jpeg_blob": np.frombuffer(b"".join(jpegs), np.uint8),
        "jpeg_offsets": np.cumsum([0] + [len(j) for j in jpegs]),
    }


def _write_npz(target: Path, **arrays: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with clips.csv, clips/ and portraits_*.parquet"
    )
    parser.add_argument("--landmarker", type=Path, required=True, help="the official face_landmarker.task")
    parser.add_argument("--out", type=Path, default=Path(".cache/prepared"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quality", type=int, default=93, help="JPEG quality of the kept pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(args.data / "clips.csv", args.out / "clips.csv")  # trainers sample by person: who is who is in here
    with open(args.out / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with Pool(args.workers) as pool:
        jobs: list[AsyncResult[Any]] = [
            pool.apply_async(prepare_clip, (row, args.data, args.landmarker, args.out, args.quality)) for row in rows
        ]
        jobs += [
            pool.apply_async(prepare_portraits, (table, args.landmarker, args.out, args.quality))
            for table in sorted(args.data.glob("portraits_*.parquet"))
        ]
        for job in tqdm(jobs, desc="preparing"):
            job.get()


if __name__ == "__main__":
    main()
