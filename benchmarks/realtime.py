"""Measure a student with live sound: frames per second, delay of the first frame, jitter, and memory over a long stream.

::

    python benchmarks/realtime.py [--model STUDENT] [--minutes 10] [--large] [--fast]

STUDENT is a folder or Hub id (default: the embedded student, of 512 x 512 pixels). With ``--large`` its picture is put into
one of 1280 x 720 pixels first, so that frames in 720p are drawn and encoded.

Figures of speed: the teacher on the same portrait, and what the student costs of it (multiply-accumulates, as
``student.py`` counts them); the student alone (from meshes to uint8 pictures, a mesh at a time); from a sound file to an mp4
(audio-to-lip, student, paste-back, encoding); and the same as a stream of small chunks, one frame at a time. Then chunks of
the bundled sentence come as they would from a microphone for ``--minutes``, and frames are taken as soon as they are there,
and encoded. A frame's delay is counted from the moment at which the chunk that completed its look-ahead came (or could have
been taken, where the stream is behind). ``--fast`` feeds the long stream without waiting: memory and speed only.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from student import alone, student_row, teacher_row
from transformers import pipeline

from superface_hf import FaceModel, SuperFaceStudentModel
from superface_hf.animation.portrait import stored_portrait
from superface_hf.hub import weights_folder
from superface_hf.layers.portrait import PortraitLayers
from superface_hf.media import Mp4Writer, load_sound
from superface_hf.models.student.stored_layers import LayerFiles, picture_file
from superface_hf.renderers.student import StudentRenderer
from superface_hf.renderers.threads import in_order
from superface_hf.utils.assets import SPEECH

RATE, FPS = 16000, 25.0
WIDTH, HEIGHT = 1280, 720
FACE_SHARE = 0.6  # of the picture's height that the crop around the face takes, where the picture allows it
SECONDS = 6.0  # of each speed
MOVED = torch.tensor([0.05, 0.02, 0.0])  # how far the face is from where it rests
SETTLED = 20.0  # seconds of sound after which memory is compared with its end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a student: folder or Hub id (default: the embedded one)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound in the long stream (default: 10)")
    parser.add_argument(
        "--chunk", type=float, default=40.0, help="milliseconds of sound that come at once (default: 40)"
    )
    parser.add_argument("--large", action="store_true", help="show the student in a picture of 1280 x 720 pixels")
    parser.add_argument("--fast", action="store_true", help="do not wait for the sound of the long stream to happen")
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    source = args.model or weights_folder("student")
    student = SuperFaceStudentModel.from_pretrained(source, dtype=torch.float32).eval()
    if args.large:
        in_720p(student)
    pipe: Any = pipeline("talking-face", model=student, device="cpu")  # type: ignore[call-overload]
    speech = load_sound(SPEECH).mono(RATE)
    size = round(args.chunk * RATE / 1000)
    figures: dict[str, float] = {"crop, pixels": student.crop.side, **beside_the_teacher(str(source))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.mp4"
        figures |= student_alone(student)
        figures |= file_to_mp4(pipe, speech, path)
        figures |= chunks_to_mp4(pipe, speech, size, path)
        figures |= long_stream(pipe, speech, size, args.minutes, not args.fast, path)
    for name, value in figures.items():
        print(f"{name:<58}{value:>10.2f}")
    print(f"({torch.get_num_threads()} threads, chunks of {args.chunk:g} ms, {FPS:g} frames a second wanted)")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def in_720p(student: SuperFaceStudentModel) -> None:
    """Give the student a full picture of 1280 x 720 pixels: its layers, enlarged, on grey."""
    layers, crop = student.layers(), student.crop
    height, width = layers.picture.shape[:2]
    scale = FACE_SHARE * HEIGHT / crop.side
    top = min(max(0.0, (crop.top + crop.side / 2) * scale - HEIGHT / 2), max(0.0, height * scale - HEIGHT))
    left = (crop.left + crop.side / 2) * scale - WIDTH / 2

    def placed(layer: np.ndarray, ground: str) -> np.ndarray:
        large = Image.fromarray(layer).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
        full = Image.new(large.mode, (WIDTH, HEIGHT), ground)
        full.paste(large, (-round(left), -round(top)))
        return np.asarray(full)

    colours, plate, alpha = layers.picture.copy(), layers.picture.copy(), np.zeros((height, width), np.uint8)
    colours[layers.box], plate[layers.box], alpha[layers.box] = layers.colours, layers.plate, layers.alpha
    picture = placed(layers.picture, "grey")
    share = placed(alpha, "black").astype(np.float32) / 255
    enlarged = PortraitLayers.of(picture, share, placed(colours, "grey"), placed(plate, "grey"))
    for name, file in LayerFiles.of(picture_file(picture), enlarged)._asdict().items():
        setattr(student, name, torch.from_numpy(np.frombuffer(file, np.uint8).copy()))
    place = (crop.left * scale - left, crop.top * scale - top, crop.side * scale)
    student.square = torch.tensor([round(value) for value in place])


def beside_the_teacher(source: str) -> dict[str, float]:
    """Measure the embedded teacher on the student's portrait, and the share of its work that the student does."""
    threads = torch.get_num_threads()
    teacher = alone(teacher_row, source, str(weights_folder("teacher")), "fp32", threads)
    student = alone(student_row, source, "fp32", threads)
    return {
        "teacher, frame after frame, frames/s": teacher["frames/s fp32"],
        "teacher, frame after frame, CPU ms a frame": teacher["CPU ms a frame fp32"],
        "student's MACs, % of the teacher's": 100 * student["MMACs a frame"] / teacher["MMACs a frame"],
    }


def student_alone(student: SuperFaceStudentModel) -> dict[str, float]:
    """Measure the student alone: frame after frame with all threads, and several frames at once with one thread each,
    as the pipeline does where it can."""
    ready = StudentRenderer(student).prepare(stored_portrait(student, FaceModel.default()), student.layers)
    mesh = student.landmarks[None] + MOVED

    def work(_: object) -> np.ndarray:
        return ready.frames(mesh)[0]

    def until(end: float) -> Iterator[None]:
        while time.perf_counter() < end:
            yield None

    figures: dict[str, float] = {}
    for name, threads in (("student, frame after frame", 1), ("student, frames side by side", torch.get_num_threads())):
        list(in_order(work, [range(8)], threads))
        with Speed() as speed:
            speed.frames = sum(1 for _ in in_order(work, [until(speed.start + SECONDS)], threads))
        figures |= speed.figures(name)
    return figures


def file_to_mp4(pipe: Any, speech: np.ndarray, path: Path) -> dict[str, float]:
    pipe.write(path, motion="blink", progress=False)
    with Speed() as speed:
        sound = np.concatenate([speech, speech])
        speed.frames = len(pipe.write(path, audio=sound, sampling_rate=RATE, fps=FPS, progress=False))
    return speed.figures("sound file to mp4")


def chunks_to_mp4(pipe: Any, speech: np.ndarray, size: int, path: Path) -> dict[str, float]:
    stream = pipe.stream(audio=iter(cut(speech, size)), sampling_rate=RATE, fps=FPS)
    with Mp4Writer(path, FPS, speech, RATE) as writer, Speed() as speed:
        for frame in stream:
            writer.add(frame)
            speed.frames += 1
    return speed.figures("chunks to mp4")


def long_stream(
    pipe: Any, speech: np.ndarray, size: int, minutes: float, real_time: bool, path: Path
) -> dict[str, float]:
    """Measure memory and, in real time, delays over a stream that is encoded while it is rendered."""
    microphone = Microphone(islice(cycle(cut(speech, size)), round(minutes * 60 * RATE / size)), size, real_time)
    delays: list[float] = []
    times: list[float] = []
    memory: list[float] = []
    stream = pipe.stream(audio=iter(microphone), sampling_rate=RATE, fps=FPS)
    with Mp4Writer(path, FPS) as writer, Speed() as speed:
        for frame in stream:
            times.append(time.perf_counter())
            delays.append(1e3 * (times[-1] - microphone.came))
            if speed.frames == 0:
                first_needs = 1e3 * microphone.chunks * size / RATE
            writer.add(frame)
            speed.frames += 1
            if speed.frames % round(FPS) == 0:
                memory.append(resident())
    settled = memory[min(len(memory) // 3, round(SETTLED))]
    figures = {
        "long stream, minutes": minutes,
        "first frame needs sound of (ms)": first_needs,
        "first frame after that sound (ms)": delays[0],
        "long stream, frames/s": speed.rate,
        "long stream, cores busy": speed.cores,
        "memory when settled (MB)": settled,
        "memory at the end (MB)": memory[-1],
        "memory, most after it settled (MB)": max(memory[memory.index(settled) :]),
    }
    if real_time:
        intervals = 1e3 * np.diff(times)
        figures |= {
            "frame after its sound, median (ms)": float(np.median(delays)),
            "frame after its sound, 99 in 100 (ms)": float(np.percentile(delays, 99)),
            "frame after its sound, longest (ms)": max(delays),
            "time between frames, standard deviation (ms)": float(intervals.std()),
            "time between frames, 99 in 100 (ms)": float(np.percentile(intervals, 99)),
        }
    return figures


def cut(samples: np.ndarray, size: int) -> list[np.ndarray]:
    """Return pieces of ``size`` samples; a shorter rest is dropped."""
    return [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]


class Microphone:
    """Chunks at the pace at which they would be recorded; a late reader finds them waiting.

    Attributes:
        chunks: how many have been taken.
        came: when the last one of them was there to be taken.
    """

    def __init__(self, chunks: Iterator[np.ndarray], size: int, real_time: bool) -> None:
        self._chunks, self._seconds, self._real_time = chunks, size / RATE, real_time
        self.chunks, self.came = 0, 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        start = time.perf_counter()
        for chunk in self._chunks:
            self.chunks += 1
            self.came = time.perf_counter()
            if self._real_time:
                self.came = start + self.chunks * self._seconds
                time.sleep(max(0.0, self.came - time.perf_counter()))
            yield chunk


@dataclass
class Speed:
    """Frames against the clock and against the processor's time."""

    frames: int = 0
    start: float = field(default=0.0, init=False)

    def __enter__(self) -> Speed:
        self.start, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall, self._cpu = time.perf_counter() - self.start, time.process_time() - self._cpu

    @property
    def rate(self) -> float:
        return self.frames / self._wall

    @property
    def cores(self) -> float:
        return self._cpu / self._wall

    def figures(self, name: str) -> dict[str, float]:
        return {f"{name}, frames/s": self.rate, f"{name}, CPU ms a frame": 1e3 * self._cpu / self.frames}


def resident() -> float:
    """Return the resident memory of the process in MB (its peak, where the system does not report the current value)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
