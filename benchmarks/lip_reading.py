"""Measure whether lips can be read, by viseme error rate and evidence: those of real people, and what the pipeline makes.

::

    python benchmarks/lip_reading.py --data $SUPERFACE_DATA [--clips 8] [--seconds 4] [--json lip_reading.json]

For each validation clip with sound, its first seconds are read as recorded, driven by their own video, and driven by their own
sound (the first frame being the portrait). What should be read is what pocketsphinx hears. "Another's sound" is the recorded
clip against the sound of the next one: the result without speech. A reader that knows nobody of the clips and
a recogniser that knows no words both err much; what counts is the difference to the real clip. Evidence is explained in
``SuperFaceLipReaderModel.evidence``; offsets above 0 say that the picture is late. Needs the extra
``[lip-reading]``.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from superface_hf import SuperFaceLipReaderModel
from superface_hf.data.speech.clips import person_at
from superface_hf.data.speech.tracked_clips import speaking
from superface_hf.media import VideoReader, load_sound
from superface_hf.media.samples import SPEECH_RATE
from superface_hf.metrics.visemes import viseme_error_rate
from superface_hf.models.embedded import embedded_lip_reader, embedded_tracker
from superface_hf.models.lip_reader import mouths_of
from superface_hf.models.lip_reader.heard_visemes import heard_visemes, viseme_track

FPS = 25.0
REACH = 5  # frames by which picture and sound may be apart
Figures = tuple[float, float, int]  # viseme error rate, evidence in bits a frame, offset in frames
ROWS = ("recorded", "driven by the video", "driven by the sound", "another's sound")


class Clip:
    """The beginning of a clip: frames at its own rate, and its sound."""

    def __init__(self, path: Path, seconds: float) -> None:
        video = VideoReader(path)
        self.name, self.fps = path.stem, video.fps
        self.frames = list(islice(video, round(seconds * video.fps)))
        self.samples = load_sound(path).mono(SPEECH_RATE)[: round(len(self.frames) / video.fps * SPEECH_RATE)]


class LipReading:
    """Reads clips, and what the pipeline makes of them."""

    def __init__(self, reader: SuperFaceLipReaderModel) -> None:
        from transformers import pipeline

        self.reader, self.tracker = reader, embedded_tracker()
        self.pipe: Any = pipeline("talking-face", tracker=self.tracker)  # type: ignore[call-overload]

    def __call__(self, clip: Clip, other: Clip) -> dict[str, Figures]:
        """Return the figures of each row."""
        photo, silent = clip.frames[0], {"progress": False}
        by_video = self.pipe(photo, video=clip.frames, fps=clip.fps, **silent)
        by_sound = self.pipe(photo, audio=clip.samples, sampling_rate=SPEECH_RATE, fps=FPS, seed=0, **silent)
        recorded = self.mouths(clip.frames)
        figures = (
            self.measure(recorded, clip.fps, clip.samples),
            self.measure(self.mouths(by_video.frames), by_video.fps, clip.samples),
            self.measure(self.mouths(by_sound.frames), by_sound.fps, clip.samples),
            self.measure(recorded, clip.fps, other.samples),
        )
        return dict(zip(ROWS, figures, strict=True))

    def mouths(self, frames: Any) -> np.ndarray:
        """Return the mouths (T, 48, 72) in frames (T, H, W, 3)."""
        faces = self.tracker.follow(iter(frames))
        return mouths_of(frames, (None if face is None else face.landmarks for face in faces))[0]

    def measure(self, mouths: np.ndarray, fps: float, samples: np.ndarray) -> Figures:
        """Compare what is read with what is heard."""
        read = self.reader.read(mouths, fps)
        said = viseme_track(heard_visemes(samples), len(read), self.reader.config.frame_rate)
        evidence = self.reader.evidence(mouths, fps, said, REACH)
        return viseme_error_rate(read, said), float(evidence.max()), int(evidence.argmax()) - REACH


def validation_clips(data: Path, count: int, seconds: float) -> list[Clip]:
    """Return the validation clips with sound, at most one of each person."""
    people, clips = set[str](), list[Clip]()
    for row in speaking(data):
        person = person_at(row["repo"], row["path"])
        if row["split"] == "val" and person not in people and len(clips) < count:
            people.add(person)
            clips.append(Clip(data / "clips" / row["clip"], seconds))
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERFACE_DATA"), help="folder with clips/*.mp4")
    parser.add_argument("--model", help="a lip reader's folder or Hub id (default: the embedded one)")
    parser.add_argument("--clips", type=int, default=8, help="clips at most (default: 8)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each clip (default: 4)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the clips are: --data FOLDER or SUPERFACE_DATA")
    reader = SuperFaceLipReaderModel.from_pretrained(args.model).eval() if args.model else embedded_lip_reader()
    clips = validation_clips(Path(args.data), args.clips, args.seconds)
    reading, figures = LipReading(reader), dict[str, dict[str, Figures]]()
    for index, clip in enumerate(clips):
        figures[clip.name] = reading(clip, clips[(index + 1) % len(clips)])
        for row, (rate, evidence, offset) in figures[clip.name].items():
            print(
                f"{clip.name}  {row:20} error rate {rate:.2f}  evidence {evidence:+.2f} bits  offset {offset:+d}",
                flush=True,
            )
    means = {row: np.nanmean([each[row][:2] for each in figures.values()], axis=0).tolist() for row in ROWS}
    for row, (rate, evidence) in means.items():
        print(f"mean     {row:20} error rate {rate:.3f}  evidence {evidence:+.3f} bits")
    if args.json:
        args.json.write_text(json.dumps({"clips": figures, "mean": means}, indent=1))


if __name__ == "__main__":
    main()
