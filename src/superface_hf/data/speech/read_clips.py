"""Talking mouths and what is heard with them, for the lip reader: each video is looked at and listened to once.

::

    python -m superface_hf.data.speech.read_clips DATA -o CACHE

``DATA`` holds ``clips/`` and ``clips.csv`` (columns clip, split, audio, repo, path). A run that was stopped goes on. Needs
pocketsphinx (the extra ``[train]``).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ...errors import SuperFaceError
from ...media import VideoReader, load_sound
from ...media.samples import SPEECH_RATE
from ...models.embedded import embedded_tracker
from ...models.lip_reader.heard_visemes import HeardViseme, heard_visemes
from ...models.lip_reader.mouth_pictures import mouths_of
from ...models.tracker.base import FaceTracker
from ...utils.files import write_arrays
from .clips import person_at
from .tracked_clips import MAX_SECONDS, PER_PERSON, in_turn, speaking

MIN_FRAMES = 25


@dataclass(frozen=True, eq=False)
class ReadClip:
    """A clip whose lips can be read.

    Attributes:
        name: of the file, without its ending.
        split: "train" or "val".
        person: who is seen, as far as the source tells.
        fps: frames a second.
        mouths: (T, 48, 72) uint8.
        found: (T,) which frames show a face.
        visemes: what is heard, in order.
    """

    name: str
    split: str
    person: str
    fps: float
    mouths: np.ndarray
    found: np.ndarray
    visemes: list[HeardViseme]

    @property
    def seconds(self) -> float:
        return len(self.mouths) / self.fps


def read_clips(data: Path, cache: Path, max_seconds: float = MAX_SECONDS, per_person: int = PER_PERSON) -> None:
    """Look at the clips of ``data`` that have sound and are not in ``cache`` yet."""
    tracker = embedded_tracker()
    cache.mkdir(parents=True, exist_ok=True)
    for row in tqdm(in_turn(speaking(data), per_person), desc="clips"):
        target = cache / f"{Path(row['clip']).stem}.npz"
        if not target.exists():
            write_arrays(target, watch(data / "clips" / row["clip"], tracker, max_seconds))


def load_read_clips(data: Path, cache: Path, split: str) -> list[ReadClip]:
    """Return the clips of a split that :func:`read_clips` has seen, in the table's order.

    Raises:
        SuperFaceError: there are none.
    """
    clips = []
    for row in speaking(data):
        stored = cache / f"{Path(row['clip']).stem}.npz"
        if row["split"] != split or not stored.exists():
            continue
        with np.load(stored) as arrays:
            if arrays["found"].sum() < MIN_FRAMES:
                continue
            heard = zip(arrays["names"].tolist(), *arrays["times"].T.tolist(), strict=True)
            clips.append(
                ReadClip(
                    stored.stem, split, person_at(row["repo"], row["path"]), float(arrays["fps"]),
                    arrays["mouths"], arrays["found"], [HeardViseme(*each) for each in heard],
                )
            )  # fmt: skip
    if not clips:
        raise SuperFaceError(
            f"{cache} holds no {split} clips: python -m superface_hf.data.speech.read_clips {data} -o {cache}"
        )
    return clips


@torch.inference_mode()
def watch(path: Path, tracker: FaceTracker, max_seconds: float = float("inf")) -> dict[str, np.ndarray]:
    """Look at a video and listen to it: what :func:`load_read_clips` reads."""
    video = VideoReader(path)
    frames = list(islice(video, round(min(max_seconds, 3600) * video.fps)))
    faces = tracker.follow(frames)
    mouths, found = mouths_of(frames, (None if face is None else face.landmarks for face in faces))
    sound = load_sound(path).mono(SPEECH_RATE)[: round(len(frames) / video.fps * SPEECH_RATE)]
    heard = heard_visemes(sound)
    return {
        "fps": np.array(video.fps),
        "mouths": mouths,
        "found": found,
        "names": np.array([each.name for each in heard], "U12"),
        "times": np.array([(each.start, each.end) for each in heard], np.float32).reshape(-1, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the cache's folder")
    parser.add_argument("--max-seconds", type=float, default=MAX_SECONDS, help="of a clip")
    parser.add_argument("--per-person", type=int, default=PER_PERSON, help="clips of a person at most")
    options = parser.parse_args()
    read_clips(options.data, options.out, options.max_seconds, options.per_person)


if __name__ == "__main__":
    main()
