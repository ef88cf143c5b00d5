"""Train audio-to-lip: first on synthetic speech, then on real clips with some synthetic speech among them.

::

    superface train audio-to-lip --set real=0 --set steps=700 --set learning_rate=1e-3 --out runs/lip-synthetic
    superface train audio-to-lip --set data=$SUPERFACE_DATA --set init=runs/lip-synthetic/final \\
        --set align_with=runs/lip-synthetic/final --out runs/lip

The same command resumes from the newest checkpoint in ``out``; the finished weights are in its ``final``. ``align_with`` first
asks a model how far sound and picture of each real clip are apart, and leaves out those whose sound is not the face's.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor
from transformers.utils import logging

from ...data.speech.clips import SpeechClip, at_common_range, load_speech_clips, save_offsets
from ...data.speech.synthetic_speech import Utterance, cached_utterances, utterances
from ...data.speech.takes import load_speech_takes
from ...data.speech.windows import SpeechBatch, SpeechSampling, SpeechWindows
from ...models.audio_to_lip.configuration_audio_to_lip import SuperFaceAudioToLipConfig
from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel
from ...utils.settings import number
from ..core.averaging import averaged_copy
from ..core.processes import accelerator_for
from ..core.run import TrainingRun
from ..core.schedules import falling_rate
from .loss import LipLossWeights, lip_loss
from .validation import LAGS, lag_curve, measure_lips

logger = logging.get_logger(__name__)

SPOKEN_SEED, TEST_SEED = 0, 1  # of the synthetic speech, whatever else is drawn
CLEAR_AGREEMENT = 0.45  # correlation above which a clip's offset is sure
HOLD_OUT = 8  # about every eighth of the training people is held out


@dataclass
class AudioToLipTrainingConfig:
    """What is trained, on what, for how long.

    Attributes:
        data, prepared: folder with the clips, and the one written by ``superface prepare``.
        cache: folder for fitted clips and synthetic speech.
        out: folder for checkpoints and logs.
        init: folder with weights to start from; None starts from nothing.
        steps, batch_size, seconds: length of the training; in each step, each process takes a batch of that many windows
            of so many seconds.
        learning_rate: of AdamW after ``warmup`` steps; over the last ``decay`` share of the steps it falls to a twentieth.
        weight_decay: of AdamW.
        utterances: how many pieces of synthetic speech there are to draw from.
        real, quiet: share of windows from real clips and of those without speech; the rest is synthetic speech.
        takes: whether the recordings with animators' curves are among the real clips.
        hold_out: whether some of the training people are only looked at, in ``validate_every``: for tuning, since val is for
            reporting. Without it all are trained on, as for a release.
        ema: decay of the averaged weights that are released.
        align_with: folder of a model to find the clips' audio-visual offsets with, before training; None takes those that are
            known already.
        validate_every, checkpoint_minutes: how often to look (steps) and to save.
        hidden_size: width of the network, when there is no ``init``.
    """

    data: str = "data"
    prepared: str = ".cache/prepared"
    cache: str = ".cache/speech"
    out: str = "runs/audio_to_lip"
    init: str | None = None
    steps: int = number(1500, low=1)
    batch_size: int = number(10, low=1)
    seconds: float = number(4.0, low=0.5)
    learning_rate: float = number(6e-4, low=0)
    warmup: int = number(50, low=0)
    decay: float = number(0.3, low=0, high=1)
    weight_decay: float = 0.01
    utterances: int = 200
    real: float = number(0.65, low=0, high=1)
    quiet: float = number(0.05, low=0, high=1)
    takes: bool = True
    hold_out: bool = True
    ema: float = number(0.99, low=0, high=1)
    seed: int = 0
    workers: int = 0
    align_with: str | None = None
    validate_every: int = 250
    checkpoint_minutes: float = 2.0
    hidden_size: int = 160
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    loss: LipLossWeights = field(default_factory=LipLossWeights)


class AudioToLipTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped.

    Args:
        spoken, clips: synthetic and real speech to train on.
        held_out: real clips of other people, for ``validate_every``.
        test_spoken: synthetic speech of other voices, likewise.
    """

    def __init__(
        self,
        config: AudioToLipTrainingConfig,
        spoken: list[Utterance],
        clips: list[SpeechClip],
        held_out: list[SpeechClip] | None = None,
        test_spoken: list[Utterance] | None = None,
        model_config: SuperFaceAudioToLipConfig | None = None,
    ) -> None:
        self.config = config
        self.spoken, self.clips = spoken, clips
        self.held_out, self.test_spoken = held_out or [], test_spoken or []
        set_seed(config.seed)
        self.accelerator = accelerator_for(config.mixed_precision)
        if config.init:
            model = SuperFaceAudioToLipModel.from_pretrained(config.init)
        else:
            model = SuperFaceAudioToLipModel(model_config or SuperFaceAudioToLipConfig(hidden_size=config.hidden_size))
        self.averaged = averaged_copy(model, self.accelerator.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model.train(), optimizer)
        self.run = TrainingRun(
            Path(config.out), self.accelerator, self.averaged, config.ema, config.checkpoint_minutes, config,
            steps=config.steps, seed=config.seed,
        )  # fmt: skip

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases."""
        config = self.config
        self.run.resume()
        sampling = SpeechSampling(config.seconds, config.real if self.clips else 0.0, config.quiet)
        windows = SpeechWindows(self.averaged.feature_extractor, config.seed, sampling, self.spoken, self.clips)
        for batch in self.run.batches(windows, config.batch_size, until or config.steps, config.workers):
            self.run.tick(self._train_step(batch))
            step = self.run.step
            if config.validate_every and step % config.validate_every == 0:
                self.run.log({"step": step, "validation": measure_lips(self.averaged, self.held_out, self.test_spoken)})
        self.run.save()
        self.run.release()

    def _train_step(self, batch: SpeechBatch) -> dict[str, float | Tensor]:
        config, step = self.config, self.run.step
        with self.accelerator.autocast():
            mouth = self.model(batch.input_features).mouth
        loss, terms = lip_loss(mouth.float(), batch.mouth, batch.weight, config.loss)
        rate = config.learning_rate * falling_rate(step, config.steps, config.warmup, config.decay * config.steps)
        norm = self.run.descend(loss, self.model, self.optimizer, rate, 1.0)
        return {"loss": loss.detach(), **terms, "gradient": norm}


def align(clips: list[SpeechClip], model: SuperFaceAudioToLipModel) -> list[SpeechClip]:
    """Return the clips with the offset at which their mouths fit best to what ``model`` makes of their sound, and how well.

    A few seconds can fit by chance somewhere else: the clips of one person, mostly of one recording, vote with each other.
    Most recordings are in step, so the middle of all clear offsets is taken for what the model itself is early or late by.
    """
    fits = np.stack([lag_curve(model, clip) for clip in clips])
    people = np.array([clip.person for clip in clips])
    votes = np.stack([fit + fits[people == person].mean(0) for fit, person in zip(fits, people, strict=True)])
    best = votes.argmax(1)
    agreement = fits[np.arange(len(clips)), best]
    clear = agreement >= CLEAR_AGREEMENT
    own = float(np.median(LAGS[best[clear]])) if clear.any() else 0.0
    return [
        replace(clip, offset=round(float(clip.offset + LAGS[lag] - own), 3), agreement=round(float(fit), 3))
        for clip, lag, fit in zip(clips, best, agreement, strict=True)
    ]


def split_people(clips: list[SpeechClip]) -> tuple[list[SpeechClip], list[SpeechClip]]:
    """Split clips into those to train on and those of about every ``HOLD_OUT``-th person, chosen by name alone."""
    held_out = {clip.person for clip in clips if zlib.crc32(clip.person.encode()) % HOLD_OUT == 2}
    return [clip for clip in clips if clip.person not in held_out], [clip for clip in clips if clip.person in held_out]


def run(config: AudioToLipTrainingConfig, until: int | None = None) -> Path | None:
    """Load what ``config`` names, and train to the end, or to step ``until``.

    Returns:
        The folder of the newest weights; None in all processes except the main one.
    """
    data, prepared, cache = Path(config.data), Path(config.prepared), Path(config.cache)
    if config.align_with:
        model = SuperFaceAudioToLipModel.from_pretrained(config.align_with).eval()
        splits = [load_speech_clips(data, prepared, split, cache, with_offsets=False) for split in ("train", "val")]
        save_offsets(align(splits[0] + splits[1], model), cache)
    clips = load_speech_clips(data, prepared, "train", cache) if config.real else []
    held_out: list[SpeechClip] = []
    if config.hold_out:
        clips, held_out = split_people(clips)
    if config.real and config.takes:
        clips = clips + load_speech_takes(data)
    if clips:
        clips = at_common_range(clips)
    spoken = cached_utterances(config.utterances, SPOKEN_SEED, cache)
    test_spoken = list(utterances(12, TEST_SEED, test=True)) if config.validate_every else []
    logger.info(f"{len(clips)} clips, {len(held_out)} held out, {len(spoken)} synthetic utterances.")
    trainer = AudioToLipTrainer(config, spoken, clips, held_out, test_spoken)
    trainer.train(until)
    return trainer.run.newest_weights
