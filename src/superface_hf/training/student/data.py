"""What a student learns from in each step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from ...data.own_video import OwnVideo
from .config import DistillationConfig
from .teacher_frames import TeacherFrames

REAL_EVERY = 4  # steps


class Batches(Iterator[dict[str, Tensor]]):
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
        self._next: Future[dict[str, Tensor]] = self._thread.submit(self._draw, step)

    def __next__(self) -> dict[str, Tensor]:
        batch = self._next.result()
        self._step += 1
        self._next = self._thread.submit(self._draw, self._step)
        device = self._accelerator.device
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

    def _draw(self, step: int) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng((config.seed, self._accelerator.process_index, step))
        chosen = rng.integers(len(self._frames), size=config.batch_size)
        index = torch.from_numpy(chosen)
        batch = {
            "target": self._frames.decoded(chosen.tolist()),
            "alpha": self._frames.alpha[index],
            "landmarks": self._frames.landmarks[index],
            "windows": self._frames.windows[index],
            "flow": self._frames.flow[index],
            "codes": self._frames.codes[index],
        }
        if self._own and config.loss.real and step % REAL_EVERY == 0:
            video = self._own[int(rng.integers(len(self._own)))]
            real = rng.integers(len(video.pictures), size=max(1, config.batch_size // 2))
            batch["real"] = video.decoded(real.tolist())
            batch["real_landmarks"] = video.landmarks[torch.from_numpy(real)]
        return batch
