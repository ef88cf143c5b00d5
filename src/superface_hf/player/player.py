"""``StudentPlayer``: sound in, frames out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np

from ..drivers.audio import follow_speech
from ..drivers.idle import IdleMotion
from ..drivers.loudness import speech_level
from ..errors import MediaError, MotionError
from ..media import Mp4Writer, SoundReader, check_video_path, mono_blocks
from ..media.samples import comes_in_chunks
from ..models.student.picture import StudentPicture
from ..motion import Motion
from ..motion.rows import motion_rows
from ..renderers.memory import keep_freed_memory
from ..utils.ahead import ahead
from .folder import AUDIO_TO_LIP, STUDENT, RuntimeFolder
from .hearing import GraphAudioToLip

TOGETHER = 4  # frames of a known motion that go through the graph together, which takes a quarter less time


class StudentPlayer:
    """Plays an exported student, as the pipeline does with torch: same motion, same frames.

    ``StudentPlayer("alice-onnx").write("out.mp4", "speech.wav")``

    Args:
        path: the folder that ``superface export student --runtime onnx`` wrote.
        threads: how many frames are drawn at once; as many as there are cores by default.

    Attributes:
        person: whom it shows, if that was said.
        fps: its usual frame rate.
        size: width and height of a frame.

    Raises:
        SuperFaceError: the folder is none of these, or onnxruntime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        folder = RuntimeFolder.open(path)
        about, graph = folder.about, folder.graph(AUDIO_TO_LIP)
        self.person: str | None = about["person"]
        self.fps = float(about["frame_rate"])
        self.size = (int(about["picture"]["width"]), int(about["picture"]["height"]))
        self._width = max(said["columns"][1] for said in about["motion"].values())
        self._graph = folder.graph(STUDENT)
        self._picture = StudentPicture(folder.layers(), int(about["image_size"]), float(about["face_width"]))
        self._audio_to_lip: Any = GraphAudioToLip(graph, about["hearing"])
        self._threads = threads or os.cpu_count() or 1
        keep_freed_memory(self)

    def motions(
        self, sound: Any, fps: float | None = None, sampling_rate: float | None = None, idle: IdleMotion | None = None
    ) -> Iterator[Motion]:
        """Yield the motion of the face while it says a sound, in parts, each as soon as it is known.

        Args:
            sound: as :class:`~superface_hf.media.SoundReader` takes it, or a generator of chunks of samples, which are taken as
                they come.
            fps: frames a second; the student's own by default.
            sampling_rate: of chunks and arrays, in samples a second.
            idle: moves head, eyes and brows; ``IdleMotion(strength=0)`` leaves them at rest.

        Raises:
            MediaError: the sound cannot be read, or chunks come without a sampling rate.
        """
        rate, level = self._audio_to_lip.config.sampling_rate, None
        idle = idle or IdleMotion()
        if comes_in_chunks(sound):
            if sampling_rate is None:
                raise MediaError(
                    "Chunks of sound need their sampling rate: pass sampling_rate=16000 (or whatever it is)."
                )
            blocks = mono_blocks(sound, sampling_rate, rate)
        else:
            reader = sound if isinstance(sound, SoundReader) else SoundReader(sound, sampling_rate)
            blocks, level = reader.mono(rate), speech_level(reader.mono(rate), rate)
        return follow_speech(blocks, fps or self.fps, self._audio_to_lip, idle, level)

    def frames(self, sound: Any, **how: Any) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3) uint8, each as soon as the sound up to 0.2 s after it has come; arguments and errors as of
        :meth:`motions`."""
        return self.render(self.motions(sound, **how))

    def write(self, path: str | os.PathLike[str], sound: Any, **how: Any) -> int:
        """Write an mp4 with the sound, marked as AI-generated; return how many frames it has. Arguments as of
        :meth:`motions`.

        Raises:
            MediaError: the sound cannot be read, or the file not be written.
        """
        check_video_path(path)
        reader, count = SoundReader(sound, how.pop("sampling_rate", None)), 0
        with Mp4Writer(path, how.get("fps") or self.fps, reader, reader.rate) as writer:
            for frame in self.frames(reader, **how):
                writer.add(frame)
                count += 1
        return count

    def render(self, motions: Iterable[Motion]) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3) uint8 of motion that begins at rest: head, eyes, brows and gaze are added to the portrait's
        own, the mouth is absolute, as speech gives it.

        Raises:
            MotionError: the motion is for another face model.
        """
        with ThreadPoolExecutor(self._threads, "superface") as pool:
            for motion in motions:
                rows = self._rows(motion)
                size = min(TOGETHER, -(-len(rows) // self._threads))
                parts = (rows[start : start + size] for start in range(0, len(rows), size))
                yield from chain.from_iterable(ahead(self._drawn, parts, pool, self._threads))

    def _rows(self, motion: Motion) -> np.ndarray:
        rows = motion_rows(motion)
        if rows.shape[1] != self._width:
            raise MotionError(f"A motion of {rows.shape[1]} numbers is for another face model than this student's.")
        return rows

    def _drawn(self, rows: np.ndarray) -> list[np.ndarray]:
        maps = self._graph(motion=rows)
        return [self._picture.frame({name: each[i] for name, each in maps.items()}) for i in range(len(rows))]
