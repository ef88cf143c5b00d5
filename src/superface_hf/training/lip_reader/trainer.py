"""Train the lip reader to tell visemes from pictures of mouths.

::

    python -m superface_hf.data.speech.read_clips $SUPERFACE_DATA -o .cache/read
    superface train lip-reader --set data=$SUPERFACE_DATA --set cache=.cache/read --out runs/lip_reader

What is said is heard by pocketsphinx, which errs: so does the reader's teacher. Sound is a frame or two off in some recordings:
part of the way through, the reader measures by how much, and from there on it trains on corrected clips. The same command
resumes from the newest checkpoint in ``out``; the finished weights are in its ``final``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from torch import Tensor

from ...data.speech.lip_windows import NOTHING, Labelled, LipBatch, LipSampling, LipWindows
from ...data.speech.read_clips import ReadClip, load_read_clips
from ...errors import MediaError
from ...models.lip_reader.configuration_lip_reader import VISEMES, SuperFaceLipReaderConfig
from ...models.lip_reader.heard_visemes import viseme_track
from ...models.lip_reader.modeling_lip_reader import SuperFaceLipReaderModel
from ...models.lip_reader.mouth_pictures import nearest_frames
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine, rising


@dataclass
class LipReaderTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        data: folder with ``clips/`` and ``clips.csv``.
        cache: folder written by ``python -m superface_hf.data.speech.read_clips``.
        out: folder for checkpoints, the log and at last the weights.
        steps, batch_size: length of the training; in each step, each process takes a batch.
        learning_rate: of AdamW after ``warmup`` steps; it falls along a cosine.
        weight_decay: of AdamW.
        smoothing: share of the label that is spread over all visemes, as many labels are wrong.
        calibrate_at: the step at which the clips' offsets are measured and corrected; 0 never.
        calibration_reach: frames by which a recording's sound may be off.
        ema: decay of the averaged weights that are released.
        checkpoint_minutes: how often to save.
    """

    data: str = "data"
    cache: str = ".cache/read"
    out: str = "runs/lip_reader"
    steps: int = number(600, low=1)
    batch_size: int = number(16, low=1)
    learning_rate: float = number(2e-3, low=0)
    weight_decay: float = number(0.05, low=0)
    warmup: int = number(50, low=0)
    smoothing: float = number(0.1, low=0, high=1)
    calibrate_at: int = 250
    calibration_reach: int = number(4, low=0)
    ema: float = number(0.99, low=0, high=1)
    seed: int = 0
    checkpoint_minutes: float = 3.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"


class LipReaderTrainer:
    """Owns the model, its averaged copy, the clips and the checkpoints."""

    def __init__(
        self,
        config: LipReaderTrainingConfig,
        clips: Sequence[ReadClip],
        model_config: SuperFaceLipReaderConfig | None = None,
        sampling: LipSampling | None = None,
    ) -> None:
        self.config, self.clips, self.sampling = config, list(clips), sampling
        set_seed(config.seed)
        self.accelerator = accelerator_for(config.mixed_precision)
        model = SuperFaceLipReaderModel(model_config or SuperFaceLipReaderConfig())
        model.to(memory_format=torch.channels_last)  # type: ignore[call-arg] # a third quicker on a CPU
        model.usual, model.following = usual_visemes(self.clips, model.config.frame_rate)
        self.averaged = averaged_copy(model, self.accelerator.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model.train(), optimizer)
        self.run = TrainingRun(
            Path(config.out), self.accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, seed=config.seed,
        )  # fmt: skip
        self.offsets: dict[str, float] = {}

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        config = self.config
        self.offsets = self.run.resume().get("offsets", {})
        end = until or config.steps
        if self.run.step < config.calibrate_at < end:
            self._train_to(config.calibrate_at)
        if config.calibrate_at and self.run.step == config.calibrate_at:
            self.offsets = measured_offsets(self.averaged, self.clips, config.calibration_reach)
            self.run.log({"step": self.run.step, "corrected": sum(map(bool, self.offsets.values()))})
        self._train_to(end)
        self.run.save(offsets=self.offsets)
        self.run.release()

    def _train_to(self, end: int) -> None:
        windows = LipWindows(self.clips, self.offsets, self.config.seed, self.sampling)
        for batch in self.run.batches(windows, self.config.batch_size, end):
            self.run.tick(self._train_step(batch), offsets=self.offsets)

    def _train_step(self, batch: LipBatch) -> dict[str, Tensor]:
        with self.accelerator.autocast():
            logits = self.model(batch.mouths).logits.float()
        labels = batch.visemes.flatten()
        loss = F.cross_entropy(
            logits.flatten(0, 1), labels, ignore_index=NOTHING, label_smoothing=self.config.smoothing
        )
        self.run.descend(loss, self.model, self.optimizer, self.learning_rate(self.run.step), 1.0)
        counted = labels != NOTHING
        right = (logits.detach().flatten(0, 1).argmax(-1) == labels)[counted].float().mean()
        return {"loss": loss.detach(), "right": right}

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: a rise over ``warmup`` steps, then a cosine down to a fiftieth."""
        fall = max(0.02, cosine(step / self.config.steps, 0.0))
        return self.config.learning_rate * rising(step, self.config.warmup) * fall


def usual_visemes(clips: Sequence[ReadClip], frame_rate: float) -> tuple[Tensor, Tensor]:
    """Return how usual each viseme is (V,), and each after another in the next frame (V, V), as logarithms."""
    counts = np.ones((len(VISEMES), len(VISEMES)))
    for clip in clips:
        track = Labelled.of(clip, frame_rate).visemes
        np.add.at(counts, (track[:-1], track[1:]), 1)
    following = counts / counts.sum(1, keepdims=True)
    usual = counts.sum(1) / counts.sum()
    return torch.from_numpy(np.log(usual)).float(), torch.from_numpy(np.log(following)).float()


def measured_offsets(model: SuperFaceLipReaderModel, clips: Sequence[ReadClip], reach: int) -> dict[str, float]:
    """Measure by how many seconds each clip's sound is late: where the lips show most of it, up to ``reach`` frames.

    Clips that are too short to tell are taken as they are.
    """
    rate, model = model.config.frame_rate, model.eval()
    offsets = {}
    for clip in clips:
        said = viseme_track(clip.visemes, len(nearest_frames(len(clip.mouths), clip.fps, rate)), rate)
        with suppress(MediaError):
            offsets[clip.name] = (reach - int(model.evidence(clip.mouths, clip.fps, said, reach).argmax())) / rate
    return offsets


def run(config: LipReaderTrainingConfig, until: int | None = None) -> Path | None:
    """Load what ``config`` names, and train to the end, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    trainer = LipReaderTrainer(config, load_read_clips(Path(config.data), Path(config.cache), "train"))
    trainer.train(until)
    return trainer.run.newest_weights
