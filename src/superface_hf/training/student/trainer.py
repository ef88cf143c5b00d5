"""Train a student on what the teacher rendered: first on its motion, then on its pictures.

Motion comes first because it is cheap to teach (no picture is rendered) and nearly all of a picture: moved by the teacher's own
flow, the portrait's pixels alone are at 40 dB to its frames.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from ...data.own_video import OwnVideo
from ...layers.motion import Window
from ...models.student.modeling_student import SuperFaceStudentModel
from ..core.layout import channels_last
from ..core.processes import share_gradients
from ..core.run import TrainingError, TrainingRun
from ..core.schedules import cosine_after_share, set_rates
from .config import DistillationConfig
from .data import Batches, StudentBatch
from .loss import Delivery, MotionLoss, StudentLoss
from .scene import Scene
from .teacher_frames import TeacherFrames

WARMUP, LAST_RATE = 0.03, 0.02  # of the time; of the learning rate
# The motion alone is learnt in larger batches, faster; once it is there, pictures change it slowly.
MOTION_BATCH, MOTION_RATE, SETTLED = 16, 3e-3, 0.2
CLIP_NORM = 1.0

Terms = dict[str, Tensor]


class Clock:
    """Measures the share of the time for training that has passed, by the main process's clock.

    Args:
        begun, elapsed: seconds of the whole budget that had passed when training began, and that have passed now.

    Raises:
        TrainingError: nothing is left.
    """

    def __init__(self, config: DistillationConfig, accelerator: Accelerator, begun: float, elapsed: float) -> None:
        self._config, self._accelerator, self.begun = config, accelerator, begun
        self._start = time.monotonic() - elapsed
        self._budget = 60 * config.minutes
        if begun >= 0.98 * self._budget:
            raise TrainingError(
                f"{config.minutes:g} minutes are too short: {begun / 60:.1f} of them went into rendering the teacher. Pass "
                f"--minutes {math.ceil(2 * begun / 60)} or more; what was rendered is kept."
            )

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def share(self, step: int) -> float:
        """Return the share of the time that has passed, 1 at the end."""
        share = (self.elapsed - self.begun) / (self._budget - self.begun)
        if self._config.max_steps is not None:
            share = max(share, step / self._config.max_steps)
        if self._accelerator.num_processes > 1:
            share = float(broadcast(torch.tensor([share], device=self._accelerator.device))[0])
        return max(0.0, share)


def rate(share: float) -> float:
    """Return a factor on the learning rate: a short rise, then a cosine down."""
    return cosine_after_share(share, WARMUP, LAST_RATE)


class StudentTraining:
    """The training of one student, from rendered frames to ``run.averaged``.

    Args:
        run: holds the untrained student; it is resumed here, from its folder.
        scene: what the student's frames are composed of.
        own: the person's own videos.
        perceptual: see :class:`~superface_hf.training.student.loss.StudentLoss`.
    """

    def __init__(
        self, config: DistillationConfig, run: TrainingRun, scene: Scene, frames: TeacherFrames, own: list[OwnVideo],
        perceptual: nn.Module | None,
    ) -> None:  # fmt: skip
        self._config, self._run, self._frames, self._own = config, run, frames, own
        self._accelerator = accelerator = run.accelerator
        assert isinstance(run.averaged, SuperFaceStudentModel)
        student = SuperFaceStudentModel(run.averaged.config)
        student.load_state_dict(run.averaged.state_dict())
        student = channels_last(student.to(accelerator.device)).train()
        delivery = Delivery(student.config.code_channels, frames.codes).to(accelerator.device)
        moving = [*student.motion_encoder.parameters(), *student.dense_motion.parameters(), *delivery.parameters()]
        painting = [*student.generator.parameters(), *student.painters.parameters()]
        motion_optimizer = torch.optim.AdamW(moving, MOTION_RATE, weight_decay=1e-4)
        groups = [{"params": moving}, {"params": painting}]
        optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=1e-4)
        prepared = accelerator.prepare(student, delivery, motion_optimizer, optimizer)
        self._model, delivery, self._motion_optimizer, self._optimizer = prepared
        self._student, self._moving, self._all = student, moving, [*moving, *painting]
        self._prepared = student.prepare()  # no weight is in it
        self._motion_loss = MotionLoss(scene, config.loss, delivery)
        self._loss = StudentLoss(scene, config.loss, delivery, perceptual)
        self._progress = run.resume()

    def train(self, begun: float, show: Callable[[float], object]) -> None:
        """Train until the time is over, and save.

        Args:
            begun: seconds of the budget that had passed before, at a first start.
            show: is called with the seconds of the budget that have passed.
        """
        config, run = self._config, self._run
        begun = self._progress.get("begun", begun)
        clock = Clock(config, self._accelerator, begun, self._progress.get("elapsed", begun))
        batches: Batches | None = None
        while (share := clock.share(run.step)) < 1:
            if share < config.motion_share:
                terms = self._move(share / config.motion_share)
            else:
                batches = batches or Batches(self._frames, self._own, config, self._accelerator, run.step)
                terms = self._paint(next(batches), (share - config.motion_share) / (1 - config.motion_share))
            run.tick(terms, elapsed=clock.elapsed, begun=clock.begun)
            show(clock.elapsed)
        run.save(elapsed=clock.elapsed, begun=clock.begun)

    def _move(self, share: float) -> Terms:
        """Take one step of the motion, at a share of the time for that."""
        rng = np.random.default_rng((self._config.seed, self._accelerator.process_index, self._run.step))
        index = torch.from_numpy(rng.integers(len(self._frames), size=MOTION_BATCH))
        landmarks, windows, flow, codes = (
            x[index].float().to(self._accelerator.device)
            for x in (self._frames.landmarks, self._frames.windows, self._frames.flow, self._frames.codes)
        )
        window = Window(windows[:, :2], windows[:, 2])
        motion = self._student.coarse_motion(self._prepared, landmarks, window)
        terms = self._motion_loss(motion, flow, codes, window)
        set_rates(self._motion_optimizer, MOTION_RATE * rate(share))
        self._accelerator.backward(terms["loss"])
        # The wrapper that does this for whole frames has not been called.
        share_gradients(self._accelerator, self._moving)
        return self._follow(self._motion_optimizer, self._moving, terms)

    def _paint(self, batch: StudentBatch, share: float) -> Terms:
        """Take one step of whole pictures, at a share of the time for these."""
        peak = self._config.learning_rate * rate(share)
        set_rates(self._optimizer, [SETTLED * peak, peak])
        terms = self._loss(self._model, batch, share)
        self._accelerator.backward(terms["loss"])
        return self._follow(self._optimizer, self._all, terms)

    def _follow(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], terms: Terms) -> Terms:
        """Take the step that the gradients ask for, unless they are not finite."""
        norm = self._accelerator.clip_grad_norm_(parameters, CLIP_NORM)
        if torch.isfinite(norm):
            optimizer.step()
            self._run.follow(self._model)
        optimizer.zero_grad()
        return {name: value.detach() for name, value in terms.items()}
