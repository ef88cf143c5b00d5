"""``StudentPlayer``: sound in, frames out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..drivers.audio import follow_speech
from ..drivers.idle import IdleMotion
from ..drivers.loudness import speech_level
from ..errors import MediaError, MotionError
from ..media import Mp4Writer, SoundReader, check_video_path, mono_blocks
from ..media.samples import comes_in_chunks
from ..motion import Motion
from ..motion.rows import motion_rows
from ..renderers.memory import keep_freed_memory
from .folder import AUDIO_TO_LIP, STUDENT, RuntimeFolder
from .hearing import GraphAudioToLip
from .picture import StudentPicture


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
        about = folder.about
        self.person: str | None = about["person"]
        self.fps = float(about["frame_rate"])
        self.size = (int(about["picture"]["width"]), int(about["picture"]["height"]))
        self._layout = {name: tuple(said["columns"]) for name, said in about["motion"].items()}
        self._graph, self._picture = folder.graph(STUDENT), StudentPicture(folder)
        self._audio_to_lip: Any = GraphAudioToLip(folder.graph(AUDIO_TO_LIP), about["hearing"])
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
        reader = SoundReader(sound, how.pop("sampling_rate", None))
        count = 0
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
                waiting: deque[Future[np.ndarray]] = deque()
                for row in self._rows(motion):
                    waiting.append(pool.submit(self._frame, row))
                    # One more than there are threads, so that no thread waits for the consumer of the frames.
                    if len(waiting) > self._threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()

    def _rows(self, motion: Motion) -> np.ndarray:
        for name, (first, last) in self._layout.items():
            if getattr(motion, name).reshape(len(motion), -1).shape[1] != last - first:
                raise MotionError(f"The motion's {name} is for another face model than this student's.")
        return motion_rows(motion)

    def _frame(self, row: np.ndarray) -> np.ndarray:
        outputs = self._graph(motion=row[None])
        return self._picture.frame({name: output[0] for name, output in outputs.items()})
