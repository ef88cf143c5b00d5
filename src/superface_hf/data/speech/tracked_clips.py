"""Tracked talking clips, for the motion diffusion: each video is looked at once, and what was seen is kept in a folder.

::

    python -m superface_hf.data.speech.tracked_clips DATA -o CACHE

``DATA`` holds ``clips/`` and ``clips.csv`` (columns clip, split, audio, repo, path). A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ...drivers.following import follow_face
from ...face_model.coordinates import Square
from ...face_model.topology import POINTS
from ...media import VideoReader, load_sound
from ...models.embedded import embedded_tracker
from ...models.tracker.base import FaceTracker
from ...utils.files import write_arrays
from .clips import person_at

SAMPLING_RATE = 16000
MAX_SECONDS = 12.0  # of a clip for training; what comes later shows the same person again
PER_PERSON = 10  # clips at most

# Looks at a clip's path with a tracker for so many seconds, and returns what is to be stored.
Look = Callable[[Path, FaceTracker, float], dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class TrackedClip:
    """The landmarks and the sound of a clip.

    Attributes:
        name: of the file, without its ending.
        split: "train" or "val".
        repo, path: where the clip came from.
        fps: frames a second.
        landmarks: (T, 478, 3) float32, IMAGE units; zero where no face was found.
        shots: (T,) which shot a frame belongs to; -1 where no face was found.
        samples: (N,) float32 mono at 16 kHz.
    """

    name: str
    split: str
    repo: str
    path: str
    fps: float
    landmarks: np.ndarray
    shots: np.ndarray
    samples: np.ndarray


def look_at_clips(look: Look, data: Path, cache: Path, max_seconds: float, per_person: int) -> None:
    """Store in ``cache`` what is seen in each clip of ``data`` that has sound and is not there yet.

    Args:
        look: takes a clip's path, the tracker, and how many seconds of it to look at; returns the arrays to store.
        max_seconds: of a clip; those for validation are looked at whole.
        per_person: clips at most.
    """
    tracker = embedded_tracker()
    cache.mkdir(parents=True, exist_ok=True)
    for row in tqdm(_in_turn(speaking(data), per_person), desc="clips"):
        target = cache / f"{Path(row['clip']).stem}.npz"
        if not target.exists():
            seconds = float("inf") if row["split"] == "val" else max_seconds
            write_arrays(target, look(data / "clips" / row["clip"], tracker, seconds))


def load_tracked(data: Path, cache: Path) -> Iterator[TrackedClip]:
    """Yield the clips that this module has tracked, in the table's order."""
    for row in speaking(data):
        stored = cache / f"{Path(row['clip']).stem}.npz"
        if not stored.exists():
            continue
        with np.load(stored) as arrays:
            yield TrackedClip(
                stored.stem, row["split"], row["repo"], row["path"], float(arrays["fps"]),
                arrays["landmarks"], arrays["shots"], arrays["samples"],
            )  # fmt: skip


def speaking(data: Path) -> list[dict[str, str]]:
    """Return the rows of the table of clips that have sound."""
    with (data / "clips.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["audio"] == "True"]


def _in_turn(rows: list[dict[str, str]], per_person: int) -> list[dict[str, str]]:
    """Order clips so that everybody's first clip comes before anybody's second: a cache that is not full shows most people."""
    turns: Counter[str] = Counter()
    placed = []
    for row in rows:
        person = person_at(row["repo"], row["path"])
        placed.append((turns[person], row["split"] != "val", row))
        turns[person] += 1
    return [row for turn, _, row in sorted(placed, key=lambda place: place[:2]) if turn < per_person]


@torch.inference_mode()
def _track(path: Path, tracker: FaceTracker, max_seconds: float) -> dict[str, np.ndarray]:
    video = VideoReader(path)
    square: Square | None = None
    landmarks, shots = [], []

    def watched() -> Iterator[np.ndarray]:
        nonlocal square
        for index, frame in enumerate(video):
            if index >= max_seconds * video.fps:
                return
            square = square or Square.around_picture(*frame.shape[:2])
            yield frame

    for seen in follow_face(tracker, watched()):
        assert square is not None
        found = seen.face is not None
        landmarks.append(square.to_image(seen.face.landmarks) if seen.face is not None else np.zeros((POINTS, 3)))
        shots.append(seen.shot if found else -1)
    sound = load_sound(path).mono(SAMPLING_RATE)[: round(len(shots) / video.fps * SAMPLING_RATE)]
    return {
        "fps": np.array(video.fps),
        "landmarks": np.array(landmarks, np.float32),
        "shots": np.array(shots, np.int16),
        "samples": sound.astype(np.float32),
    }


def look_by_command(about: str | None, look: Look) -> None:
    """Parse a command line, and do what it says with :func:`look_at_clips`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the cache's folder")
    parser.add_argument("--max-seconds", type=float, default=MAX_SECONDS, help="of a clip")
    parser.add_argument("--per-person", type=int, default=PER_PERSON, help="clips of a person at most")
    options = parser.parse_args()
    look_at_clips(look, options.data, options.out, options.max_seconds, options.per_person)


if __name__ == "__main__":
    look_by_command(__doc__, _track)
