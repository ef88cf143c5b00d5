"""Dub videos with other people's speech, check the guarantees of dubbing, and draw the results.

::

    python benchmarks/dubbing.py --data $SUPERFACE_DATA --out build/dubbing     # validation clips, each with another's sound
    python benchmarks/dubbing.py --out build/dubbing                            # only the bundled portrait and sentence

For every pair: whether each pixel outside of the painted region is the video's own (before encoding); how much the painted
region's rim differs from the video (mean of 0 to 255: an invisible seam stays near the video's own noise); how sharp the
skin around the mouth is against the video's (1 is alike); how well the mouth opening that a tracker sees in the result
follows the speech (correlation; "before" is the video's own mouth), and frames a second.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from transformers import pipeline

from superface_hf import SuperFaceTeacherModel
from superface_hf.face_model.coordinates import Square
from superface_hf.face_model.lips import mouth_opening
from superface_hf.hub import weights_folder
from superface_hf.media import VideoReader, load_sound, write_mp4
from superface_hf.motion import Motion
from superface_hf.motion.bundled import bundled_motion
from superface_hf.pipelines.dubbing import DubbedFrame, Dubber
from superface_hf.pipelines.talking_face import TalkingFacePipeline
from superface_hf.utils.assets import PORTRAIT, SPEECH

CLIPS = ("val_056", "val_113", "val_276", "val_041")
SECONDS = 10.0
COLUMNS, CELL = 6, 224
DIFFERENCE = 4  # the sheet shows the difference this many times as strong
RIM = (0.02, 0.3)  # of the mask


def full_mask(dubbed: DubbedFrame) -> np.ndarray:
    """Return how much of each pixel was painted, (H, W)."""
    mask = np.zeros(dubbed.picture.shape[:2], np.float32)
    if dubbed.mask is not None:
        mask[dubbed.box] = dubbed.mask
    return mask


def roughness(picture: np.ndarray, where: np.ndarray) -> float:
    """Return the mean difference between neighbouring pixels of an (H, W, 3) uint8 picture where the (H, W) mask is true."""
    grey = picture.astype(np.float32).mean(-1)
    across, down = np.abs(np.diff(grey, axis=1))[:-1], np.abs(np.diff(grey, axis=0))[:, :-1]
    return float((across + down)[where[:-1, :-1]].mean())


def openings(frames: list[np.ndarray], pipe: TalkingFacePipeline) -> np.ndarray:
    """Return how far the mouth is open in each frame; NaN where no face is found."""
    square = Square.around_picture(*frames[0].shape[:2])
    found = np.full(len(frames), np.nan)
    tracked = enumerate(pipe.tracker.follow(frames))
    seen = {index: square.to_image(face.landmarks) for index, face in tracked if face is not None}
    if seen:
        _, motion = pipe.face_model.fit(np.stack(list(seen.values())), fps=1.0)
        found[list(seen)] = mouth_opening(motion.mouth)
    return found


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    good = np.isfinite(one) & np.isfinite(other)
    return float(np.corrcoef(one[good], other[good])[0, 1])


def dub(
    pipe: TalkingFacePipeline, video: VideoReader, sound: Path, name: str, seconds: float, out: Path
) -> dict[str, float]:
    """Dub one video, write its sheet and mp4, and return the figures."""
    mouth = pipe.audio_to_lip.predict(load_sound(sound).cut(seconds).mono(), video.fps)
    originals = list(itertools.islice(video, len(mouth)))
    mouth = mouth[: len(originals)]
    dubber = Dubber(cast(SuperFaceTeacherModel, pipe.model), pipe.tracker, pipe.face_model)
    start = time.perf_counter()
    dubbed = list(dubber.frames(VideoReader(originals, video.fps), mouth, "stop"))
    took = time.perf_counter() - start
    pictures = [frame.picture for frame in dubbed]
    outside, rim, sharp = 0, [], []
    for before, after in zip(originals, dubbed, strict=True):
        mask, change = full_mask(after), np.abs(before.astype(int) - after.picture).max(-1)
        outside += int((change[mask == 0] > 0).sum())
        if after.mask is not None:
            rim.append(change[(mask > RIM[0]) & (mask < RIM[1])].mean())
            skin = mask > 0.95
            skin[_mouth_box(after)] = False
            sharp.append(roughness(after.picture, skin) / roughness(before, skin))
    wanted = mouth_opening(np.asarray(mouth))
    write_mp4(out / f"{name}.mp4", pictures, video.fps, *_track(sound, len(pictures) / video.fps))
    sheet(originals, dubbed).save(out / f"{name}.jpg", quality=85)
    return {
        "frames": len(dubbed),
        "pixels outside": outside,
        "rim": float(np.mean(rim)),
        "sharpness": float(np.mean(sharp)),
        "before": correlation(openings(originals, pipe), wanted),
        "after": correlation(openings(pictures, pipe), wanted),
        "frames/s": len(dubbed) / took,
    }


def _mouth_box(dubbed: DubbedFrame) -> tuple[slice, slice]:
    """Return the box around the lips, where changes are intended."""
    rows, columns = dubbed.box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return (
        slice(rows.start + height // 10, rows.start + height * 6 // 10),
        slice(columns.start + width // 4, columns.stop - width // 4),
    )


def _track(sound: Path, seconds: float) -> tuple[np.ndarray, int]:
    cut = load_sound(sound).cut(seconds)
    return cut.samples, cut.rate


def sheet(before: list[np.ndarray], after: list[DubbedFrame]) -> Image.Image:
    """Return three rows: the face in the video, the dubbed face, and the difference, for frames in which the new mouth
    is most open and most closed."""
    said = np.array([0.0 if frame.motion is None else mouth_opening(frame.motion.mouth)[0] for frame in after])
    parts = [part for part in np.array_split(np.arange(len(before)), COLUMNS) if len(part)]
    chosen = [part[(np.argmax, np.argmin)[turn % 2](said[part])] for turn, part in enumerate(parts)]
    face = _face_box(after)
    columns = []
    for index in chosen:
        one, other = before[index][face], after[index].picture[face]
        difference = (np.abs(one.astype(int) - other) * DIFFERENCE).clip(0, 255).astype(np.uint8)
        size = (CELL, round(CELL * one.shape[0] / one.shape[1]))
        cells = (Image.fromarray(cell) for cell in (one, other, difference))
        columns.append(np.concatenate([np.asarray(cell.resize(size, Image.Resampling.LANCZOS)) for cell in cells]))
    return Image.fromarray(np.concatenate(columns, axis=1))


def _face_box(dubbed: list[DubbedFrame]) -> tuple[slice, slice]:
    """Return the part of the picture that holds the face in all frames."""
    boxes = [frame.box for frame in dubbed if frame.mask is not None]
    left, right = min(box[1].start for box in boxes), max(box[1].stop for box in boxes)
    bottom = max(box[0].stop for box in boxes)
    half, middle = 0.9 * (right - left), (left + right) / 2
    height, width = dubbed[0].picture.shape[:2]
    rows = slice(max(0, round(bottom - 1.7 * half)), min(height, round(bottom + 0.3 * half)))
    return rows, slice(max(0, round(middle - half)), min(width, round(middle + half)))


def pairs(
    data: Path | None, names: list[str], pipe: TalkingFacePipeline, folder: Path
) -> Iterator[tuple[str, VideoReader, Path]]:
    """Yield videos, each with the sound that it should speak."""
    if data is None:
        # An animation of the bundled portrait, which anyone may show.
        moving = Motion.concatenate([bundled_motion(name) for name in ("speak", "nod")])
        video = folder / "portrait.mp4"
        pipe.write(video, PORTRAIT, motion=moving)
        yield "portrait", VideoReader(video), SPEECH
        return
    clips = [data / "clips" / f"{name}.mp4" for name in names]
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        yield f"{clip.stem}_says_{other.stem}", VideoReader(clip), other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with clips/; without it the bundled portrait is dubbed")
    parser.add_argument("--clips", nargs="+", default=CLIPS, help="each says what the next one says (two at least)")
    parser.add_argument("--out", type=Path, required=True, help="where the videos and contact sheets go")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each video")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pipe = pipeline("talking-face", model=str(weights_folder("teacher")), device=args.device)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        for name, video, sound in pairs(args.data, args.clips, pipe, Path(folder)):
            figures = dub(pipe, video, sound, name, args.seconds, args.out)
            print(name, ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
            if figures["pixels outside"]:
                raise SystemExit(f"{name}: {figures['pixels outside']} pixels outside of the painted region changed.")


if __name__ == "__main__":
    main()
