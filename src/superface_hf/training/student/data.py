"""The batches of a student's training."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ...data.batch import Batch
from ...data.own_video import OwnVideo
from .config import DistillationConfig
from .teacher_frames import TeacherFrames

REAL_EVERY = 4  # steps


@dataclass(eq=False)
class StudentBatch(Batch):
    """Frames of the teacher, and in some steps real ones.

    Attributes:
        target: (B, 3, S, S) uint8 rendered frames.
        alpha: (B, 1, S / 4, S / 4) uint8 their mattes.
        landmarks, windows: (B, 478, 3) and (B, 3) what they show, and where.
        flow, codes: the teacher's flow and motion codes.
        real, real_landmarks: frames (B', 3, S, S) uint8 of the person's own videos and their landmarks; None in most steps.
    """

    target: Tensor
    alpha: Tensor
    landmarks: Tensor
    windows: Tensor
    flow: Tensor
    codes: Tensor
    real: Tensor | None = None
    real_landmarks: Tensor | None = None


class Batches(Iterator[StudentBatch]):
    """Draws frames of the teacher, and in every fourth step real ones, one batch ahead in a thread of its own.

    What is drawn follows from the seed, the process and the step.
    """

    def __init__(
        self,
        frames: TeacherFrames,
        own: list[OwnVideo],
        config: DistillationConfig,
        accelerator: Accelerator,
        step: int,
    ) -> None:
        self._frames, self._own, self._config, self._accelerator = frames, own, config, accelerator
        self._step = step
        self._thread = ThreadPoolExecutor(1)
        self._next: Future[StudentBatch] = self._thread.submit(self._draw, step)

    def __next__(self) -> StudentBatch:
        batch = self._next.result()
        self._step += 1
        self._next = self._thread.submit(self._draw, self._step)
        return batch.to(self._accelerator.device, non_blocking=True)

    def _draw(self, step: int) -> StudentBatch:
        config = self._config
        rng = np.random.default_rng((config.seed, self._accelerator.process_index, step))
        chosen = rng.integers(len(self._frames), size=config.batch_size)
        index = torch.from_numpy(chosen)
        frames = self._frames
        batch = StudentBatch(
            frames.decoded(chosen.tolist()), frames.alpha[index], frames.landmarks[index], frames.windows[index],
            frames.flow[index], frames.codes[index],
        )  # fmt: skip
        if self._own and config.loss.real and step % REAL_EVERY == 0:
            video = self._own[int(rng.integers(len(self._own)))]
            real = rng.integers(len(video.pictures), size=max(1, config.batch_size // 2))
            batch.real = video.decoded(real.tolist())
            batch.real_landmarks = video.landmarks[torch.from_numpy(real)]
        return batch
