"""Pack portraits and frames of clips, with mattes by MediaPipe's selfie segmentation, for ``matte`` and ``inpainter``.

    python -m superface_hf.data.pictures.pack --data DATA --models MODELS --out DIR

DATA holds ``portraits_large.parquet``, ``clips.csv`` and ``clips/``; MODELS holds
``face_landmarker.task`` and ``selfie_segmentation.tflite``. Needs ``mediapipe``, ``ai-edge-litert`` and ``pyarrow``.
"""

from __future__ import annotations

import argparse
import csv
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .judge import save_judge
from .packed import INDEX, MATTE_SIZE, PICTURES, write_packed

logger = logging.getLogger(__name__)

# The square that is kept around a face, in widths of the face: what inference looks at (3.2), and room to move it.
CONTEXT = 4.8
PORTRAIT_SIZE, CLIP_SIZE = 448, 288  # pixels at most
JPEG_QUALITY, MATTE_QUALITY = 88, 85
FRAMES = 17  # of a clip whose repository gave no other
HELD_OUT = 11  # of the large portraits, one in so many is for validation
# The segmentation's certainty starts and ends here.
UNSURE = (0.1, 0.9)
# A matte that leaves out this much of the face is wrong.
FACE_IN_MATTE = 0.85


@dataclass(frozen=True, eq=False)
class Found:
    """A picture (H, W, 3), the faces' points in pixels, and where it comes from."""

    picture: np.ndarray
    faces: list[np.ndarray]
    name: str
    split: str
    kind: str


class Labeller:
    """Faces and mattes by MediaPipe's models."""

    def __init__(self, models: Path) -> None:
        import mediapipe as mp
        from ai_edge_litert.interpreter import Interpreter
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(models / "face_landmarker.task")), num_faces=4
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)
        self._mediapipe = mp
        self._segmenter = Interpreter(str(models / "selfie_segmentation.tflite"), num_threads=1)
        self._segmenter.allocate_tensors()
        self._in = self._segmenter.get_input_details()[0]["index"]
        self._out = self._segmenter.get_output_details()[0]["index"]

    def faces(self, picture: np.ndarray) -> list[np.ndarray]:
        """Return the points (478, 2) of each face in pixels, the widest first."""
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        found = self._landmarker.detect(image).face_landmarks
        size = np.array(picture.shape[1::-1])
        faces = [np.array([[p.x, p.y] for p in face]) * size for face in found]
        return sorted(faces, key=lambda points: -np.ptp(points[:, 0]))

    def close(self) -> None:
        """End the landmarker while Python still has what it needs for that."""
        self._landmarker.close()

    def segment(self, picture: np.ndarray) -> np.ndarray:
        """Return the matte (256, 256) in [0, 1] of a picture (H, W, 3) uint8."""
        small = cv2.resize(picture, (MATTE_SIZE, MATTE_SIZE), interpolation=cv2.INTER_AREA)
        self._segmenter.set_tensor(self._in, small[None].astype(np.float32) / 255)
        self._segmenter.invoke()
        low, high = UNSURE
        return np.clip((self._segmenter.get_tensor(self._out)[0, ..., 0] - low) / (high - low), 0, 1)

    def matte(self, square: np.ndarray, face_width: float) -> np.ndarray:
        """Return the mean of what is seen as it is, mirrored, and at another size of the face: (S, S, 3) -> (256, 256)."""
        side = len(square)
        views = [self._both_ways(square)]
        if face_width > 0.4:  # the face fills the picture: more of the edges around it
            margin = round(side * 0.17)
            wide = cv2.copyMakeBorder(square, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
            seen = cv2.resize(self._both_ways(wide), (side + 2 * margin,) * 2)
            views.append(cv2.resize(seen[margin : margin + side, margin : margin + side], (MATTE_SIZE, MATTE_SIZE)))
        return np.mean(views, axis=0)

    def _both_ways(self, picture: np.ndarray) -> np.ndarray:
        return (self.segment(picture) + self.segment(picture[:, ::-1])[:, ::-1]) / 2


def portraits(table: Path, labeller: Labeller) -> Iterator[Found]:
    """Yield the pictures of a parquet table."""
    import pyarrow.parquet as pq

    for number, row in enumerate(pq.read_table(table).to_pylist()):
        picture = _decoded(row["image"]["bytes"])
        if picture is None:
            continue
        faces = labeller.faces(picture)
        if faces:
            split = "val" if number % HELD_OUT == 0 else "train"
            yield Found(picture, faces, str(row["name"]), split, "portrait")


def frames(data: Path, labeller: Labeller) -> Iterator[Found]:
    """Yield the frames of the clips; the more clips a repository gave, the fewer of each, as they often show the same
    people."""
    with (data / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = Counter(row["repo"] for row in rows)
    for row in rows:
        wanted = max(3, round(FRAMES / clips[row["repo"]] ** 0.5))
        for number, picture in _spread(data / "clips" / row["clip"], wanted):
            faces = labeller.faces(picture)
            if faces:
                yield Found(picture, faces, f"{row['clip']}:{number}", row["split"], "clip")


def square_of(found: Found) -> tuple[np.ndarray, np.ndarray]:
    """Return the square around the widest face that lies in the picture, and the face: middle (x, y), width as shares of it."""
    points = found.faces[0]
    height, width = found.picture.shape[:2]
    face_width = float(np.ptp(points[:, 0]))
    middle = (points.min(0) + points.max(0)) / 2
    side = min(round(CONTEXT * face_width), height, width)
    left, top = (int(np.clip(round(c - side / 2), 0, s - side)) for c, s in zip(middle, (width, height), strict=True))
    square = found.picture[top : top + side, left : left + side]
    return square, np.array([middle[0] - left, middle[1] - top, face_width], np.float32) / side


def pack(data: Path, models: Path, out: Path) -> None:
    """Make the folder, without pictures whose matte leaves out the face."""
    labeller = Labeller(models)
    rows: list[dict[str, object]] = []
    pictures: list[bytes] = []
    mattes: list[bytes] = []
    left_out = 0
    sources = (portraits(data / "portraits_large.parquet", labeller), frames(data, labeller))
    for found in (item for source in sources for item in source):
        square, face = square_of(found)
        matte = labeller.matte(square, float(face[2]))
        if _seen_in_matte(found.faces[0], face, matte) < FACE_IN_MATTE:
            left_out += 1
            continue
        most = CLIP_SIZE if found.kind == "clip" else PORTRAIT_SIZE
        if len(square) > most:
            square = cv2.resize(square, (most, most), interpolation=cv2.INTER_AREA)
        rows.append(
            {
                "name": found.name, "split": found.split, "kind": found.kind, "faces": len(found.faces),
                "centre_x": round(float(face[0]), 4), "centre_y": round(float(face[1]), 4),
                "face_width": round(float(face[2]), 4),
            }
        )  # fmt: skip
        pictures.append(_jpeg(square[..., ::-1], JPEG_QUALITY))
        mattes.append(_jpeg((matte * 255 + 0.5).astype(np.uint8), MATTE_QUALITY))
        if len(rows) % 100 == 0:
            logger.info("%d pictures, %.1f MB", len(rows), sum(map(len, pictures)) / 1e6)
    labeller.close()
    write_packed(out, rows, pictures, mattes)
    save_judge(out)
    size = (out / PICTURES).stat().st_size / 2**20
    logger.info("%d pictures in %s and %s (%.1f MiB); %d left out", len(rows), INDEX, PICTURES, size, left_out)


def _seen_in_matte(points: np.ndarray, face: np.ndarray, matte: np.ndarray) -> float:
    """Return the share of the face's points at which the matte shows a person."""
    low, high = points.min(0), points.max(0)
    shares = (points - (low + high) / 2) / np.ptp(points[:, 0]) * face[2] + face[:2]
    x, y = np.clip((shares * MATTE_SIZE).astype(int), 0, MATTE_SIZE - 1).T
    return float(matte[y, x].mean())


def _spread(clip: Path, wanted: int) -> Iterator[tuple[int, np.ndarray]]:
    video = cv2.VideoCapture(str(clip))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    chosen = set(np.linspace(0, max(0, count - 2), wanted).astype(int).tolist())
    number = 0
    while chosen:
        if not video.grab():
            return
        if number in chosen:
            chosen.discard(number)
            kept, picture = video.retrieve()
            if kept:
                yield number, np.ascontiguousarray(picture[..., ::-1])
        number += 1


def _decoded(data: bytes) -> np.ndarray | None:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="Packs pictures and mattes for the trainings of matte and inpainter.")
    parser.add_argument("--data", type=Path, required=True, help="folder with portraits and clips")
    parser.add_argument("--models", type=Path, required=True, help="folder with MediaPipe's models")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    pack(options.data, options.models, options.out)


if __name__ == "__main__":
    main()
