"""Settings of a distillation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...utils.settings import number
from ..losses.perceptual import PerceptualName


@dataclass(frozen=True)
class StudentLossWeights:
    """How much each term counts.

    Attributes:
        pixel: mean absolute error to the teacher's frame over two scales.
        decibels: logarithm of each frame's mean squared error, which PSNR measures.
        emphasis, opening_emphasis: how much more lips and eyes count in both, and the insides of open mouths and eyes.
        perceptual: distance in the features of an image network, of mouth and eyes.
        perceptual_backbone: which network, see :func:`~superface_hf.training.losses.perceptual.perceptual_distance`.
        alpha: mean absolute error to the teacher's matte of the person.
        flow: delivered motion: the student's flow against the teacher's. Fades out over the training.
        code: delivered motion: the teacher's p_d must follow from the student's p.
        real: mouth and eyes against the person's own video, in every fourth step.
    """

    pixel: float = number(1.0, low=0)
    decibels: float = number(0.1, low=0)
    emphasis: float = number(4.0, low=0)
    opening_emphasis: float = number(4.0, low=0)
    perceptual: float = number(0.03, low=0)
    perceptual_backbone: PerceptualName = "efficientnet_lite0"
    alpha: float = number(1.0, low=0)
    flow: float = number(2.0, low=0)
    code: float = number(0.02, low=0)
    real: float = number(0.1, low=0)


@dataclass(frozen=True)
class DistillationConfig:
    """What is distilled, and how.

    Attributes:
        portrait: a picture of the person.
        name: the person's name.
        out: folder for the student; frames and checkpoints are in ``out/work``.
        videos: of the same person: how they move, and what they really look like when they do.
        teacher: folder or Hub id; None is the embedded one.
        face: which face of the portrait.
        minutes: for everything.
        render_share: of the minutes, spent on rendering the teacher at most.
        frames: rendered at most.
        held_out: frames that the student is judged by.
        motion_share: of the time for training, spent on the motion alone, before any picture is rendered.
        max_steps: end earlier, after so many steps.
        batch_size, learning_rate, ema: of each process.
        teacher_precision: of the rendered frames; what the student is judged by is always rendered in float32.
        student: changes to the student's configuration, such as ``student.window_channels=24``.
    """

    portrait: str
    name: str
    out: str
    videos: tuple[str, ...] = ()
    teacher: str | None = None
    face: int | str = "only"
    minutes: float = number(20.0, low=0.01)
    render_share: float = number(0.35, low=0.05, high=0.9)
    frames: int = number(3000, low=32)
    held_out: int = number(32, low=4)
    motion_share: float = number(0.3, low=0, high=0.9)
    max_steps: int | None = None
    batch_size: int = number(4, low=1)
    learning_rate: float = number(2e-3, low=0)
    ema: float = number(0.998, low=0, high=1)
    seed: int = 0
    checkpoint_minutes: float = number(3.0, low=0)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    teacher_precision: Literal["float32", "bfloat16"] = "bfloat16"
    loss: StudentLossWeights = field(default_factory=StudentLossWeights)
    student: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @property
    def work(self) -> Path:
        return self.folder / "work"
