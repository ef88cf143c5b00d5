"""The settings of a teacher's training: what ``configs/teacher_*.yaml`` hold."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from huggingface_hub.errors import StrictDataclassError

from ...data.degradations import DegradationConfig
from ...data.pairs.drawing import PairSampling
from ...data.pairs.masking import MaskingConfig
from ...models.teacher.configuration_teacher import SuperFaceTeacherConfig, TeacherSize
from ...utils.settings import SettingsError, converted, nearest, number
from ..losses.perceptual import PerceptualName


@dataclass(frozen=True)
class ModelSettings:
    """The model to train.

    Attributes:
        size: ``tiny``, ``base`` or ``large``.
        overrides: fields of ``SuperFaceTeacherConfig`` that differ from that size's, such as ``early_mesh: false``.
        init: folder or Hub id of weights to start from, whose sizes then hold; null starts from the plain mesh flow.
        gradient_checkpointing: computes parts of the forward pass twice instead of remembering them: about a third slower,
            for a larger batch.
    """

    size: TeacherSize = "base"
    overrides: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        hints = _architecture_hints()
        for name, value in self.overrides.items():
            key = f"model.overrides.{name}"
            if name not in hints:
                raise SettingsError(f"Unknown setting {key}. {nearest(name, list(hints), 'model.overrides')}")
            converted(value, hints[name], key)
        if self.init is not None and self.overrides:
            raise SettingsError(
                "model.overrides cannot change the sizes of the weights in model.init: give one of them."
            )
        self.architecture()

    def architecture(self) -> SuperFaceTeacherConfig:
        """Return the model's configuration, where it does not start from weights."""
        try:
            return SuperFaceTeacherConfig.of_size(self.size, **self.overrides)
        except (StrictDataclassError, TypeError, ValueError) as error:
            raise SettingsError(f"model.overrides: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class DataSettings:
    """The training data.

    Attributes:
        prepared: folder of a prepared set (``superface prepare``), or with ``streaming`` also the id of one on the Hub.
        streaming: reads clips as they come instead of holding all in memory.
        pool: clips that each streaming worker holds to draw pairs from (about 2 MB each).
        workers: processes that read pairs, for each training process; 0 reads in the training process.
        sampling: how pairs are drawn.
        masking: how regions of the driving signal are replaced (MTM).
        degradation: how sources are degraded (SSR).
    """

    prepared: str = ".cache/prepared"
    streaming: bool = False
    pool: int = number(64, low=1)
    workers: int = number(1, low=0)
    sampling: PairSampling = field(default_factory=lambda: PairSampling(stills=0.08))
    masking: MaskingConfig = field(default_factory=lambda: MaskingConfig(share=0.25))
    degradation: DegradationConfig = field(default_factory=lambda: DegradationConfig(share=0.3))


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss's terms; 0 leaves a term out.

    Attributes:
        region_emphasis, opening_emphasis: how much more an error on lips and eyes counts, and one inside open ones.
        l1: the error at four scales from half the resolution down.
        fine: the error at full resolution.
        coarse: the squared error at an eighth of the resolution.
        warp: the error of the warped pixels alone, which trains the flow where the mask would excuse it.
        matte: the error of where the person ends.
        temporal: the error of what changes from one frame to the next, where a batch holds neighbouring frames.
        flow: the error of small copies of the source after the flow, which shows the flow the way from far off.
        restoration: how far the restored source is from the clean one.
        occlusion: the pull toward using what the source shows.
        smoothness: the pull toward an even 3D flow.
        perceptual: the perceptual distance of face, mouth and one eye.
        perceptual_backbone: ``efficientnet_lite0`` (local), or ``vgg`` (LPIPS, where the package lpips is installed).
        keypoints: how far the tracker sees the rendered face from where it should be, in inter-ocular distances.
        keypoint_items: items of a batch that this is measured on.
        adversarial, matching: the discriminator's judgement of mouths and eyes, and the match of its features.
    """

    region_emphasis: float = number(10.0, low=0)
    opening_emphasis: float = number(60.0, low=0)
    l1: float = number(1.0, low=0)
    fine: float = number(0.5, low=0)
    coarse: float = number(4.0, low=0)
    warp: float = number(0.6, low=0)
    matte: float = number(0.3, low=0)
    temporal: float = number(0.5, low=0)
    flow: float = number(2.0, low=0)
    restoration: float = number(1.0, low=0)
    occlusion: float = number(0.0005, low=0)
    smoothness: float = number(0.001, low=0)
    perceptual: float = number(0.025, low=0)
    perceptual_backbone: PerceptualName = "efficientnet_lite0"
    keypoints: float = number(0.05, low=0)
    keypoint_items: int = number(4, low=1)
    adversarial: float = number(0.03, low=0)
    matching: float = number(2.0, low=0)


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, and the average of weights that is released.

    Attributes:
        learning_rate: the highest; the discriminator's is half of it.
        betas, weight_decay: of AdamW.
        clip_norm: longer gradients are shortened to this.
        ema: decay of the averaged weights.
        skips_allowed: steps without finite gradients, one after the other, before the training gives up.
    """

    learning_rate: float = number(6e-4, low=0)
    betas: tuple[float, float] = number((0.9, 0.99), low=0, high=0.99999)
    weight_decay: float = number(1e-4, low=0)
    clip_norm: float = number(1.0, low=1e-3)
    ema: float = number(0.995, low=0, high=0.99999)
    skips_allowed: int = number(10, low=0)


@dataclass(frozen=True)
class ScheduleSettings:
    """The length of a training. A step is one step of the optimizer, on ``run.batch_size`` pairs, however many processes share
    them.

    Attributes:
        steps: length of the training.
        restoration: first steps, in which only the source's restorer learns, from degraded sources and their originals.
            Nothing has to be moved for that: a step takes a fraction of the time.
        warmup: steps over which the learning rate rises.
        decay: last steps, over which it falls to a twentieth.
    """

    steps: int = number(4300, low=1)
    restoration: int = number(0, low=0)
    warmup: int = number(50, low=0)
    decay: int = number(480, low=0)


@dataclass(frozen=True)
class RunSettings:
    """Batches, precision, checkpoints and logs.

    Attributes:
        out: folder for checkpoints, logs and validation sheets.
        seed: of everything that is drawn.
        batch_size: pairs in a step, over all processes and accumulated parts: the same settings mean the same training,
            and need the same learning rate, on one GPU and on eight.
        accumulation: parts that a process splits its share of the batch into, to need less memory.
        mixed_precision: ``bf16`` or ``no``.
        compile: whether to ``torch.compile`` the convolutional parts (a minute or two once, then about a third faster).
        validate_every: steps between looks at the validation clips; 0 for none.
        log_every: steps between lines of the log.
        first_checkpoint: the step after which the first checkpoint is written.
        checkpoint_minutes: minutes between the others.
        trackers: ``tensorboard`` (into the folder ``tensorboard`` of ``out``) and ``trackio``.
    """

    out: str = "runs/teacher"
    seed: int = number(0, low=0)
    batch_size: int = number(8, low=1)
    accumulation: int = number(1, low=1)
    mixed_precision: Literal["no", "bf16"] = "bf16"
    compile: bool = True
    validate_every: int = number(500, low=0)
    log_every: int = number(20, low=1)
    first_checkpoint: int = number(20, low=1)
    checkpoint_minutes: float = number(4.0, low=0)
    trackers: tuple[Literal["tensorboard", "trackio"], ...] = ()


@dataclass(frozen=True)
class TeacherTrainingConfig:
    """All settings of a teacher's training; see the sections."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        """Draw pairs at the model's size."""
        sampling, size = self.data.sampling, self.model.architecture().image_size
        if self.model.init is not None or sampling.image_size == size:
            return
        if sampling.image_size != PairSampling().image_size:
            raise SettingsError(
                f"data.sampling.image_size is {sampling.image_size}, but the model's is {size}: set "
                f"model.overrides.image_size alone."
            )
        data = dataclasses.replace(self.data, sampling=dataclasses.replace(sampling, image_size=size))
        object.__setattr__(self, "data", data)

    @property
    def out(self) -> Path:
        return Path(self.run.out)

    def micro_batch(self, processes: int) -> int:
        """Return the pairs that one process takes at a time."""
        parts = processes * self.run.accumulation
        if self.run.batch_size % parts:
            raise SettingsError(
                f"run.batch_size={self.run.batch_size} cannot be shared by {processes} processes with "
                f"run.accumulation={self.run.accumulation}: choose a multiple of {parts}."
            )
        return self.run.batch_size // parts


def _architecture_hints() -> dict[str, Any]:
    """Return the types of the fields that ``SuperFaceTeacherConfig`` itself has, and not every model's configuration."""
    own = type("Own", (), {"__annotations__": SuperFaceTeacherConfig.__annotations__})
    return get_type_hints(own, vars(sys.modules[SuperFaceTeacherConfig.__module__]))
