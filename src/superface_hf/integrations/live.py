"""A face that is there all the time: it idles while it listens, speaks what comes, and stops when it is interrupted."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import pipeline
from transformers.utils import logging

from ..animation.mouth_swap import shut_mouth
from ..animation.retargeting import Changes, Retargeter
from ..drivers.idle import IdleMotion
from ..drivers.loudness import LoudnessNormalizer
from ..errors import MediaError, SuperFaceError
from ..hub import weights_folder
from ..layers.background import Background
from ..pipelines.talking_face import TalkingFacePipeline
from ..renderers.threads import use_threads
from .speech import Utterance

SOUND_RATE = 24_000
# After an interruption the mouth shuts in so many seconds' frames: the next one at up to 25 frames a second, two at 50.
SHUTTING = 0.04
KEPT = 2  # parts that wait for whoever takes them
PAUSE = 1.0  # seconds without a part after which the clock starts anew: the machine slept, or nobody took parts
_ids = itertools.count(1)

logger = logging.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class LivePart:
    """A picture and the sound of its time.

    Attributes:
        picture: (H, W, 3) uint8.
        sound: (n,) int16 mono at the session's rate, zeros where nothing is said.
        frames: how many frames' time it lasts; 1 unless frames had to be dropped.
        speaking: whether it belongs to speech.
        ends: whether an utterance ends with it.
        mouth: (M,) the mouth's coefficients, as ``Motion`` has them.
        interruptions: how many had come when it was made.
    """

    picture: np.ndarray
    sound: np.ndarray
    frames: int
    speaking: bool
    ends: bool
    mouth: np.ndarray
    interruptions: int = 0


class LiveFace:
    """A face that is ready to talk: loaded and prepared once, for any number of sessions.

    Args:
        model: a student: folder, Hub id, model, or a pipeline with one; the embedded one by default. A teacher needs a GPU
            and ``photo``.
        photo: the portrait, where the model does not bring it.
        fps: frames a second.
        device: of the models: "cpu", "cuda", "auto".
        idle: how strongly head, eyes and brows move, 0 to 2.
        background: what is behind the person: "blur", a colour, or a picture; by default that of the portrait.

    Raises:
        MediaError, NoFaceError, HubError: the model, the portrait or the background cannot be used.
    """

    def __init__(
        self,
        model: Any = None,
        photo: Any = None,
        fps: float = 25.0,
        device: str = "cpu",
        idle: float = 1.0,
        background: Any = None,
    ) -> None:
        self.fps, self.idle = float(fps), idle
        self.pipe: Any = model if isinstance(model, TalkingFacePipeline) else _loaded(model, device)
        self.portrait = self.pipe.preprocess(photo)
        self.ready = self.pipe.ready(self.portrait)
        #: The background of every picture, (H, W, 3) uint8, or None for the portrait's.
        self.behind = None if background is None else self._background(Background(background))
        self.ready.frames(torch.from_numpy(self.portrait.landmarks)[None])  # the first one takes several times as long
        self.shut = shut_mouth(self.pipe.face_model)
        if self.pipe.audio_to_lip.config.audio_encoder is not None:
            raise SuperFaceError("An audio-to-lip model with a pretrained encoder cannot be streamed: use another.")
        height, width = self.portrait.picture.shape[:2]
        self.size: tuple[int, int] = (width, height)  #: of the pictures, in pixels

    def _background(self, background: Background) -> np.ndarray:
        if background.transparent:
            raise MediaError("A live face has a background: a blur, a colour or a picture.")
        return next(background.frames(self.ready.plate, self.fps))

    def session(self, sampling_rate: int = SOUND_RATE, seed: int | None = None) -> LiveSession:
        """Begins to show the face; see :class:`LiveSession`.

        Args:
            sampling_rate: of the sound that comes out, in samples a second.
            seed: of the idle motion; by default each session has another.
        """
        return LiveSession(self, sampling_rate, next(_ids) if seed is None else seed)


def _loaded(model: Any, device: str) -> Any:
    source = weights_folder("student") if model is None else model
    source = source if hasattr(source, "config") else str(source)
    return pipeline("talking-face", model=source, device=device)  # type: ignore[call-overload]


class LiveSession:
    """One face, live. It works in a thread of its own, at the pace of the clock, until it is closed.

    Each part that it gives has a picture and the sound of the same time, so that whoever shows the one with the other is in
    step. Where the machine cannot keep up, pictures are dropped, not sound, and a warning says so once.

    Args:
        face: which.
        rate: of the sound that comes out, in samples a second.
        seed: of the idle motion.

    Attributes:
        frames: how many frames' time has passed.
        dropped: of how many of them no picture was drawn.
    """

    def __init__(self, face: LiveFace, rate: int = SOUND_RATE, seed: int = 0) -> None:
        self.face, self.rate, self.dropped = face, rate, 0
        model = face.pipe.audio_to_lip
        self._utterances: deque[Utterance] = deque()
        self._levelled = LoudnessNormalizer(model.config.sampling_rate)
        self._idle = IdleMotion(seed, face.idle).stream(face.fps)
        self._retarget = Retargeter(face.portrait, Changes.checked("auto", None, None, face.fps), face.pipe.face_model)
        self._mouth = face.shut
        self._closing: list[np.ndarray] = []
        self.frames = 0
        self._lock = threading.Lock()  # of all above
        self._parts: queue.Queue[LivePart | None] = queue.Queue(KEPT)
        self._interruptions = 0
        self._closed = threading.Event()
        self._hurry = threading.Event()  # the next picture must not wait for its time
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="superface-live", daemon=True)
        self._thread.start()

    def push(self, samples: np.ndarray, rate: int) -> None:
        """Says something: the next chunk of speech, of any length.

        Args:
            samples: (n,) or (n, channels), int16 or float in [-1, 1].
            rate: in samples a second.

        Raises:
            MediaError: they are neither.
        """
        samples = np.asarray(samples)
        if samples.ndim not in (1, 2) or not (samples.dtype == np.int16 or samples.dtype.kind == "f"):
            raise MediaError(
                f"Speech must be (n,) or (n, channels) of int16 or floats, not {samples.dtype} {samples.shape}."
            )
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 32768
        samples = samples.astype(np.float32) if samples.ndim == 1 else samples.mean(1, dtype=np.float32)
        if not np.isfinite(samples).all():
            raise MediaError("The speech holds NaN or infinite values.")
        if not len(samples):
            return
        with self._lock:
            if not self._utterances or not self._utterances[-1].open:
                model = self.face.pipe.audio_to_lip
                self._utterances.append(Utterance(model, self.face.fps, self.rate, self._levelled))
            self._utterances[-1].push(samples, int(rate))

    def end(self) -> None:
        """What was said is complete. Without it, speech ends where nothing more comes for 0.3 s."""
        with self._lock:
            if self._utterances:
                self._utterances[-1].end()

    def interrupt(self) -> None:
        """Drops all that has not been said, and shuts the mouth: at up to 25 frames a second in the next picture.

        That picture does not wait for its time, and the one that is being drawn is not shown. So the mouth is shut within the
        time that two pictures take to draw.
        """
        with self._lock:
            spoke = bool(self._utterances)
            self._utterances.clear()
            self._interruptions += 1
            if spoke:
                steps = max(1, int(SHUTTING * self.face.fps))
                shares = [step / steps for step in range(1, steps + 1)]
                self._closing = [self._mouth + share * (self.face.shut - self._mouth) for share in shares]
                self._hurry.set()

    def next(self) -> LivePart | None:
        """Waits for the next part; None when the session is closed.

        Raises:
            whatever stopped the session.
        """
        while True:
            part = self._parts.get()
            if part is None:
                self._parts.put(None)
                if self._error is not None:
                    raise self._error
                return None
            if not self.dropped_by_interruption(part):
                return part

    def dropped_by_interruption(self, part: LivePart) -> bool:
        """Whether a part was made of speech that has been interrupted since."""
        return part.speaking and part.interruptions != self._interruptions

    def __iter__(self) -> Iterator[LivePart]:
        while (part := self.next()) is not None:
            yield part

    async def parts(self) -> AsyncIterator[LivePart]:
        """Yield the parts, for asyncio."""
        with ThreadPoolExecutor(1, "superface-parts") as waiter:
            while (part := await asyncio.get_running_loop().run_in_executor(waiter, self.next)) is not None:
                yield part

    def close(self) -> None:
        """Ends the session."""
        self._closed.set()
        self._hurry.set()
        self._thread.join()
        while True:  # tell the waiting consumer
            try:
                self._parts.put_nowait(None)
                return
            except queue.Full:
                try:
                    self._parts.get_nowait()
                except queue.Empty:
                    continue

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            use_threads(1)  # several sessions share the cores better than threads of one frame do
            self._keep_time()
        except BaseException as error:
            self._error = error
            self._closed.set()
            while True:
                try:
                    self._parts.put_nowait(None)
                    return
                except queue.Full:
                    self._parts.get()

    def _keep_time(self) -> None:
        step, due = 1 / self.face.fps, time.monotonic()
        while not self._closed.is_set():
            # An interruption may have one part come before its time, and not a second one.
            time.sleep(max(0.0, due - time.monotonic() - step))
            self._hurry.wait(max(0.0, due - time.monotonic()))
            self._hurry.clear()
            late = max(0.0, time.monotonic() - due)
            if late > PAUSE:
                due, late = time.monotonic(), 0.0
            frames = 1 + int(late / step)
            if frames > 1:
                self._say_so(frames - 1)
            with self._lock:
                taken, interruptions = [self._step() for _ in range(frames)], self._interruptions
            part = self._drawn(taken, interruptions)
            due += frames * step
            while not (self._closed.is_set() or self.dropped_by_interruption(part)):
                try:
                    self._parts.put(part, timeout=0.1)
                    break
                except queue.Full:
                    continue

    def _step(self) -> tuple[np.ndarray, np.ndarray, bool, bool, Any]:
        """The next frame's sound, mouth, whether it is speech, whether that ends, and head and eyes."""
        size = round((self.frames + 1) * self.rate / self.face.fps) - round(self.frames * self.rate / self.face.fps)
        self.frames += 1
        sound, speaking, ends = np.zeros(size, np.float32), False, False
        if self._closing:
            self._mouth = self._closing.pop(0)
        elif self._utterances:
            utterance = self._utterances[0]
            known = utterance.step()
            speaking = utterance.begun
            if known is not None:
                sound, self._mouth = known
            elif utterance.begun:  # it has not come in time: the mouth waits, half shut
                self._mouth = (self._mouth + self.face.shut) / 2
            if utterance.over:
                self._utterances.popleft()
                ends = True
        else:
            self._mouth = (self._mouth + self.face.shut) / 2
        energy = float(np.square(sound, dtype=np.float64).mean())
        loudness = 10 * np.log10(energy) if energy > 0 else -np.inf
        return sound, self._mouth, speaking, ends, self._idle.push(np.array([loudness]))

    def _drawn(self, taken: list[Any], interruptions: int) -> LivePart:
        """One picture for all of these frames: of speech the middle one, and where none is, the newest."""
        speaking = any(each[2] for each in taken)
        shown = taken[len(taken) // 2 if speaking else -1]
        mouth = shown[1]
        _, landmarks = self._retarget(replace(shown[4], mouth=mouth[None].astype(np.float32)), mouth[None])
        behind = None if self.face.behind is None else [self.face.behind]
        picture = self.face.ready.frames(landmarks, behind)[0]
        sound = np.concatenate([each[0] for each in taken])
        return LivePart(
            picture,
            np.clip(np.round(sound * 32768), -32768, 32767).astype(np.int16),
            len(taken),
            speaking,
            any(each[3] for each in taken),
            mouth,
            interruptions,
        )

    def _say_so(self, frames: int) -> None:
        if not self.dropped:
            logger.warning(
                f"This machine cannot draw {self.face.fps:g} frames a second of this face now: frames are dropped, so that "
                "the face stays in step with its sound. A lower fps= or a smaller picture helps."
            )
        self.dropped += frames
