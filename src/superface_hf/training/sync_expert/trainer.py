"""Train the sync expert to tell which moment of a sound a mouth belongs to.

::

    superface train sync-expert --set data=$SUPERFACE_DATA --prepared .cache/prepared --out runs/sync_expert

It sees training clips and synthetic speech (which needs espeak-ng and flite). The same command resumes from the newest
checkpoint in ``out``; the finished weights are in its ``final``. Sound is a frame or two off in some recordings: part of the
way through, the expert measures by how much, and from there on it trains on corrected clips, without those whose mouth is
independent of the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from torch import Tensor

from ...data.speech.clips import SpeechClip, load_speech_clips
from ...data.speech.sync_windows import SyncBatch, SyncSampling, SyncWindows
from ...errors import MotionError
from ...models.sync_expert.configuration_sync_expert import SuperFaceSyncExpertConfig
from ...models.sync_expert.modeling_sync_expert import SuperFaceSyncExpertModel, at_rate
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import cosine, rising


@dataclass
class SyncExpertTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        data: folder with ``clips/``.
        prepared: folder written by ``superface prepare``.
        cache: where the fitted clips are kept.
        out: folder for checkpoints, the log and at last the weights.
        init: folder with weights to start from; none if empty.
        steps, batch_size: length of the training; in each step, each process takes a batch.
        learning_rate: of AdamW after ``warmup`` steps; it falls along a cosine.
        temperature: of the softmax over candidates.
        tolerance: frames (at the model's frame rate) by which a candidate may be off and still count as half right.
        reach: frames by which candidates of the same clip are shifted, at most.
        calibrate_at: the step at which the clips' offsets are measured and corrected; 0 never.
        calibration_reach: seconds by which a recording's sound may be off.
        sure_confidence: clips with less confidence than this take the offset of their person's clips together.
        min_confidence: clips with less confidence than this at calibration are left out.
        synthetic_utterances: how many synthetic utterances to train on.
        ema: decay of the averaged weights that are released.
        checkpoint_minutes: how often to save.
    """

    data: str = "data"
    prepared: str = ".cache/prepared"
    cache: str = ".cache/speech"
    out: str = "runs/sync_expert"
    init: str = ""
    steps: int = number(1200, low=1)
    batch_size: int = number(24, low=2)
    learning_rate: float = number(2e-3, low=0)
    warmup: int = number(50, low=0)
    temperature: float = number(0.08, low=1e-3)
    tolerance: float = 1.2
    reach: int = 20
    calibrate_at: int = 400
    calibration_reach: float = 0.3
    sure_confidence: float = 0.15
    min_confidence: float = 0.02
    synthetic_utterances: int = 120
    ema: float = number(0.99, low=0, high=1)
    seed: int = 0
    checkpoint_minutes: float = 3.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"


def sync_loss(audio: Tensor, mouth: Tensor, reach: int, temperature: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """Compute the loss of windows (B, T, E) of sound and mouth, and how often the best shift of the right clip is right.

    Each window of sound has as candidates the mouth windows of its own clip within ``reach`` frames, and those of the other
    clips at the same time; and the other way round. Windows that are only a little off share the credit.
    """
    shifts = torch.arange(-reach, reach + 1, device=audio.device)
    credit = torch.exp(-0.693 * (shifts / tolerance) ** 2)
    target = torch.cat((credit / credit.sum(), credit.new_zeros(len(audio) - 1)))
    others = ~torch.eye(len(audio), dtype=torch.bool, device=audio.device)
    losses, right = [], []
    for anchor, candidates in ((audio, mouth), (mouth, audio)):
        anchor = anchor[:, reach : anchor.shape[1] - reach]
        near = torch.einsum("bte,btes->bts", anchor, candidates.unfold(1, 2 * reach + 1, 1))
        far = torch.einsum("bte,cte->btc", anchor, candidates[:, reach : candidates.shape[1] - reach])
        far = far.transpose(0, 1)[:, others].unflatten(1, (len(audio), -1)).transpose(0, 1)
        logits = torch.cat((near, far), dim=2) / temperature
        losses.append(-(F.log_softmax(logits, dim=2) * target).sum(2).mean())
        mean_curve = near.mean(1)  # over the piece, as `offset` does
        right.append(((mean_curve.argmax(1) - reach).abs() <= 2).float().mean())
    return torch.stack(losses).mean(), torch.stack(right).mean().detach()


class SyncExpertTrainer:
    """Owns the model, its averaged copy, the clips and the checkpoints."""

    def __init__(
        self,
        config: SyncExpertTrainingConfig,
        clips: Sequence[SpeechClip],
        synthetic: Sequence[SpeechClip] = (),
        model_config: SuperFaceSyncExpertConfig | None = None,
        sampling: SyncSampling | None = None,
    ) -> None:
        self.config, self.sampling = config, sampling
        self.clips, self.synthetic = list(clips), list(synthetic)
        set_seed(config.seed)
        self.accelerator = accelerator_for(config.mixed_precision)
        if config.init:
            model = SuperFaceSyncExpertModel.from_pretrained(config.init)
        else:
            model = SuperFaceSyncExpertModel(model_config or SuperFaceSyncExpertConfig())
        self.averaged = averaged_copy(model, self.accelerator.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.model, self.optimizer = self.accelerator.prepare(model.train(), optimizer)
        self.run = TrainingRun(
            Path(config.out), self.accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, seed=config.seed,
        )  # fmt: skip
        self.offsets: dict[str, float | None] = {}

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        config = self.config
        self.offsets = self.run.resume().get("offsets", {})
        end = until or config.steps
        if self.run.step < config.calibrate_at < end:
            self._train_to(config.calibrate_at)
        if config.calibrate_at and self.run.step == config.calibrate_at:
            self.offsets = measured_offsets(self.averaged, self.clips, config)
            left_out = sum(offset is None for offset in self.offsets.values())
            self.run.log({"step": self.run.step, "calibrated": len(self.offsets), "left_out": left_out})
        self._train_to(end)
        self.run.save(offsets=self.offsets)
        self.run.release()

    def _train_to(self, end: int) -> None:
        config = self.config
        clips = [
            replace(clip, offset=offset)
            for clip in self.clips
            if (offset := self.offsets.get(clip.name, clip.offset)) is not None
        ]
        windows = SyncWindows(clips, self.synthetic, self.averaged.feature_extractor, config.seed, self.sampling)
        for batch in self.run.batches(windows, config.batch_size, end):
            self.run.tick(self._train_step(batch), offsets=self.offsets)

    def _train_step(self, batch: SyncBatch) -> dict[str, Tensor]:
        config = self.config
        with self.accelerator.autocast():
            output = self.model(batch.input_features, batch.mouth)
        loss, right = sync_loss(
            output.audio.float(), output.mouth.float(), config.reach, config.temperature, config.tolerance
        )
        self.run.descend(loss, self.model, self.optimizer, self.learning_rate(self.run.step), 1.0)
        return {"loss": loss.detach(), "right": right}

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: a rise over ``warmup`` steps, then a cosine down to a fiftieth."""
        fall = max(0.02, cosine(step / self.config.steps, 0.0))
        return self.config.learning_rate * rising(step, self.config.warmup) * fall


def measured_offsets(
    model: SuperFaceSyncExpertModel, clips: Sequence[SpeechClip], config: SyncExpertTrainingConfig
) -> dict[str, float | None]:
    """Measure by how many seconds each clip's sound is late; None for a clip to leave out.

    A clip about which the expert is not sure takes the offset that fits all clips of its person best, as they mostly come
    from one recording. Clips too short to tell keep their offset.
    """
    rate = model.config.frame_rate
    reach = round(config.calibration_reach * rate)
    results = {}
    for clip in clips:
        with suppress(MotionError):  # too short
            results[clip.name] = model.offset(clip.samples, at_rate(clip.mouth, clip.fps, rate), rate, reach)
    offsets: dict[str, float | None] = {clip.name: clip.offset for clip in clips}
    for clip in clips:
        result = results.get(clip.name)
        if result is None:
            continue
        late = result.offset
        if result.confidence < config.sure_confidence:
            together = [
                results[other.name].distances
                for other in clips
                if other.person == clip.person and other.name in results
            ]
            late = int(np.mean(together, axis=0).argmin()) - reach
        offsets[clip.name] = -late / rate if result.confidence >= config.min_confidence else None
    return offsets


def synthetic_clips(count: int, seed: int) -> list[SpeechClip]:
    """Return synthetic utterances (training voices) as clips; each voice is a person."""
    from ...data.speech.synthetic_speech import FRAME_RATE, utterances

    return [
        SpeechClip(
            name=f"synthetic_{index}",
            person=said.voice,
            fps=FRAME_RATE,
            samples=said.samples,
            mouth=said.mouth,
            found=np.ones(len(said.mouth), bool),
        )
        for index, said in enumerate(utterances(count, seed))
    ]


def run(config: SyncExpertTrainingConfig, until: int | None = None) -> Path | None:
    """Load what ``config`` names, and train to the end, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    clips = load_speech_clips(Path(config.data), Path(config.prepared), "train", Path(config.cache))
    trainer = SyncExpertTrainer(config, clips, synthetic_clips(config.synthetic_utterances, config.seed))
    trainer.train(until)
    return trainer.run.newest_weights
