"""Label clips and portraits, and pack them into shards of at most 45 MiB that travel to a machine with a GPU.

A shard is a tar file. Of each clip it holds the video as it is (``NAME.mp4``), the person's matte as a small grey video
(``NAME.matte.mp4``) and ``NAME.npz``: the motion of the frames that are used, the person's shape, and the landmarks of some
of these frames, from which the others are to be rendered. Of each portrait it holds a JPEG, a matte and landmarks.

Needs ``mediapipe``, ``ai-edge-litert`` and ``opencv-python-headless``, and the official face landmarker and selfie
segmentation; a label that was made once is kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from tqdm import tqdm

from ...face_model.coordinates import Square
from ...face_model.linear import FaceModel
from ...media import load_picture, replacing
from ...media.container import open_container
from ...models.tracker.mediapipe_backend import MediapipeTracker
from ...motion.regions import ARRAYS
from .shards import LANDMARK_UNIT

SHARD_BYTES = 45 * 2**20
MATTE_SIDE, MATTE_QUALITY = 128, 20  # pixels, x264's constant rate factor
# Every second frame is used, and each SOURCE_STEP-th of those is a source too.
SOURCE_STEP = 5
PORTRAIT_SIDE, PORTRAIT_QUALITY = 640, 90
# Every so many-th portrait is for validation.
HELD_OUT = 10


class Segmenter:
    """The official selfie segmentation: (H, W, 3) uint8 -> (256, 256) in [0, 1]."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        small = Image.fromarray(picture).resize((256, 256), Image.Resampling.BOX)
        self._interpreter.set_tensor(self._input, np.asarray(small, np.float32)[None] / 255)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0, ..., 0].clip(0, 1)


def label_clip(video: Path, cache: Path, landmarker: MediapipeTracker, segmenter: Segmenter) -> dict[str, np.ndarray]:
    """``landmarks`` (T, 478, 3) in parts of the picture's width and height, z away from the camera, NaN without a face, and
    ``matte`` (T / 2, 256, 256) uint8. Only every second frame is looked at: the others have no landmarks."""
    path = cache / f"{video.stem}.npz"
    if not path.exists():
        points, mattes = [], []
        for index, picture in enumerate(pictures(video)):
            faces = landmarker.find_faces(picture) if index % 2 == 0 else []
            side = np.array([picture.shape[1], picture.shape[0], -picture.shape[1]], np.float32)
            points.append(faces[0].landmarks / side if faces else np.full((478, 3), np.nan, np.float32))
            if index % 2 == 0:
                mattes.append((segmenter(picture) * 255 + 0.5).astype(np.uint8))
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, landmarks=np.stack(points), matte=np.stack(mattes))
    with np.load(path) as stored:
        return {name: stored[name] for name in ("landmarks", "matte")}


def pictures(video: Path) -> Iterator[np.ndarray]:
    with open_container(video, "video", str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def clip_arrays(labels: dict[str, np.ndarray], fps: float) -> dict[str, np.ndarray] | None:
    """Make the arrays of a clip's ``.npz``, in coordinates of the square clip; None if too few frames show a face."""
    points = labels["landmarks"] * 2 - 1
    points[..., 2] = labels["landmarks"][..., 2] * -2
    used = [i for i in range(0, len(points), 2) if np.isfinite(points[i]).all()]
    if len(used) < 2 * SOURCE_STEP:
        return None
    shape, motion = FaceModel.default().fit(points[used], fps=fps / 2)
    sources = np.arange(0, len(used), SOURCE_STEP)
    stored = np.rint(points[np.array(used)[sources]] * LANDMARK_UNIT).clip(-32767, 32767).astype(np.int16)
    arrays = {name: getattr(motion, name).astype(np.float32) for name in ARRAYS}
    return {
        **arrays, "fps": np.float32(motion.fps), "shape": shape.points.numpy(), "frames": np.array(used, np.int32),
        "sources": sources.astype(np.int32), "source_landmarks": stored,
    }  # fmt: skip


def matte_video(mattes: np.ndarray) -> bytes:
    """Encode mattes (T, 256, 256) uint8 as a grey mp4 of MATTE_SIDE pixels."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width = stream.height = MATTE_SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(MATTE_QUALITY), "preset": "slow"}
        for matte in mattes:
            small = np.asarray(Image.fromarray(matte).resize((MATTE_SIDE, MATTE_SIDE), Image.Resampling.BOX))
            frame = av.VideoFrame.from_ndarray(np.repeat(small[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


class Shards:
    """Writes tar files one after the other; what belongs to one name stays together."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.size = folder, 0, SHARD_BYTES
        self.tar: tarfile.TarFile | None = None

    def add(self, files: dict[str, bytes]) -> None:
        total = sum(len(content) + 1024 for content in files.values())
        if self.size + total > SHARD_BYTES:
            self.close()
            self.tar = tarfile.open(self.folder / f"shard_{self.number:02d}.tar", "w")  # noqa: SIM115
            self.number, self.size = self.number + 1, 10240
        assert self.tar is not None
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            self.tar.addfile(info, io.BytesIO(content))
        self.size += total

    def close(self) -> None:
        if self.tar is not None:
            self.tar.close()


def pack_clip(video: Path, labels: dict[str, np.ndarray], fps: float, person: int) -> dict[str, bytes]:
    """Return the files of one clip; none if it cannot be used."""
    arrays = clip_arrays(labels, fps)
    if arrays is None:
        return {}
    file = io.BytesIO()
    np.savez_compressed(file, person=np.int32(person), **arrays)  # type: ignore[arg-type]
    return {
        f"{video.stem}.mp4": video.read_bytes(), f"{video.stem}.matte.mp4": matte_video(labels["matte"]),
        f"{video.stem}.npz": file.getvalue(),
    }  # fmt: skip


def pack_portrait(name: str, content: bytes, landmarker: MediapipeTracker, segmenter: Segmenter) -> dict[str, bytes]:
    """Return the files of one portrait: a square around its face; none if it does not show exactly one."""
    picture = load_picture(content)
    faces = landmarker.find_faces(picture)
    if len(faces) != 1:
        return {}
    face = Square.around_face(faces[0].landmarks)
    # A little more than the teacher's window, for its place and size to be drawn from.
    side = round(1.25 * face.side)
    square = Square(round(face.left - (side - face.side) / 2), round(face.top - (side - face.side) / 2), side)
    region = square.cut(picture)
    matte = segmenter(region)
    stored = Image.fromarray(region)
    if side > PORTRAIT_SIDE:
        stored = stored.resize((PORTRAIT_SIDE, PORTRAIT_SIDE), Image.Resampling.LANCZOS)
    jpeg, arrays = io.BytesIO(), io.BytesIO()
    stored.save(jpeg, "JPEG", quality=PORTRAIT_QUALITY)
    points = np.rint(square.to_image(faces[0].landmarks) * LANDMARK_UNIT).astype(np.int16)
    np.savez_compressed(arrays, landmarks=points, matte=(matte * 255 + 0.5).astype(np.uint8), side=np.int32(side))
    return {f"{name}.jpg": jpeg.getvalue(), f"{name}.portrait.npz": arrays.getvalue()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with clips/, clips.csv and portraits_large.parquet"
    )
    parser.add_argument("--models", type=Path, required=True, help="folder with the two official label models")
    parser.add_argument("--cache", type=Path, required=True, help="labels are kept here")
    parser.add_argument(
        "--persons", type=Path, help="JSON: clip -> number of the person; without it, a clip is a person"
    )
    parser.add_argument("--skip", nargs="*", default=[], help="clips to leave out")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    landmarker = MediapipeTracker(arguments.models / "face_landmarker.task", max_faces=2)
    segmenter = Segmenter(arguments.models / "selfie_segmentation.tflite")
    persons = json.loads(arguments.persons.read_text()) if arguments.persons else {}
    shards = Shards(arguments.out)
    with (arguments.data / "clips.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] not in arguments.skip]
    for number, row in enumerate(tqdm(rows, "clips")):
        video = arguments.data / "clips" / row["clip"]
        labels = label_clip(video, arguments.cache, landmarker, segmenter)
        if files := pack_clip(video, labels, float(row["fps"]), persons.get(row["clip"], 1000 + number)):
            shards.add(files)
    from datasets import Image as ImageFeature
    from datasets import load_dataset

    portraits = load_dataset("parquet", data_files=str(arguments.data / "portraits_large.parquet"), split="train")
    portraits = portraits.cast_column("image", ImageFeature(decode=False))
    for number, row in enumerate(tqdm(portraits, "portraits")):
        split = "val" if number % HELD_OUT == 0 else "train"
        if files := pack_portrait(f"{split}_portrait_{number:04d}", row["image"]["bytes"], landmarker, segmenter):
            shards.add(files)
    shards.close()


if __name__ == "__main__":
    main()
