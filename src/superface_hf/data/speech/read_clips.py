"""Talking mouths and what is heard with them, for the lip reader: each video is looked at and listened to once.

::

    python -m superface_hf.data.speech.read_clips DATA -o CACHE

``DATA`` holds ``clips/`` and ``clips.csv`` (columns clip, split, audio, repo, path). A run that was stopped goes on. Needs
pocketsphinx (the extra ``[lip-reading]``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ...errors import SuperFaceError
from ...media import VideoReader, load_sound
from ...media.samples import SPEECH_RATE
from ...models.lip_reader.heard_visemes import HeardViseme, heard_visemes
from ...models.lip_reader.mouth_pictures import mouths_of
from ...models.tracker.base import FaceTracker
from .clips import person_at
from .tracked_clips import look_by_command, speaking

MIN_FRAMES = 25
MOST_SECONDS = 60.0  # that are looked at: the frames are all in memory


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


def load_read_clips(data: Path, cache: Path, split: str) -> list[ReadClip]:
    """Return the clips of a split that this module has seen, in the table's order.

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
def watch(path: Path, tracker: FaceTracker, max_seconds: float) -> dict[str, np.ndarray]:
    """Look at a video and listen to it: what :func:`load_read_clips` reads."""
    video = VideoReader(path)
    frames = list(islice(video, round(min(max_seconds, MOST_SECONDS) * video.fps)))
    faces = tracker.follow(frames)
    mouths, found = mouths_of(frames, (None if face is None else face.landmarks for face in faces))
    sound = load_sound(path).mono(SPEECH_RATE)[: round(len(frames) / video.fps * SPEECH_RATE)]
    heard = heard_visemes(sound)
    return {
        "fps": np.array(video.fps),
        "mouths": mouths,
        "found": found,
        "names": np.array([each.name for each in heard], "U12"),
        "times": np.array([(each.start, each.end) for each in heard], np.float64).reshape(-1, 2),
    }


if __name__ == "__main__":
    look_by_command(__doc__, watch)
