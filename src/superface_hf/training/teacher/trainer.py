"""Train the teacher on pairs of frames of one person: ``superface train teacher --config configs/teacher_base.yaml``.

The same command resumes from the newest checkpoint in ``run.out``, and ends with the weights of an uninterrupted training:
whatever is drawn (pairs, degradations, windows) follows from the seed, the step and the place in the batch.

One step of the optimizer takes ``run.batch_size`` pairs over all processes; each process takes its share in
``run.accumulation`` parts. Two processes therefore train like one that accumulates two parts.
"""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed
from torch import Tensor, nn
from transformers.utils import logging

from ...data.degradations import SourceDegradation
from ...data.mattes import Mattes, known_plate, person_colours
from ...data.pairs.drawing import Pair
from ...errors import SuperFaceError
from ...face_model.linear import FaceModel
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ...utils.settings import SettingsError, as_dict, flat
from ..core.layout import channels_last
from ..core.processes import accelerator_for, share_gradients
from ..core.randomness import torch_generator
from ..core.run import TrainingError, TrainingRun
from ..core.schedules import falling_rate, set_rates
from ..losses.close_ups import CloseUpDiscriminator
from ..losses.pixels import windows
from .config import ModelSettings, TeacherTrainingConfig
from .data import BatchParts
from .loss import RESTORED_WINDOW, TeacherBatch, TeacherLoss, close_ups
from .validation import ValidationClips, measure_teacher

logger = logging.get_logger(__name__)

PROJECT = "superface-teacher"  # the trackers' name for these trainings
# Kinds of random numbers that follow from one seed.
_WINDOWS, _DEGRADATION, _RESTORED = range(3)


class TeacherTrainer:
    """One training run; ``train()`` continues from the newest checkpoint, exactly where it stopped."""

    def __init__(self, config: TeacherTrainingConfig) -> None:
        self.config = config
        set_seed(config.run.seed)
        _check_trackers(config.run.trackers)
        model = initial_model(config.model)
        self.accelerator = accelerator_for(
            config.run.mixed_precision,
            log_with=list(config.run.trackers) or None,
            project_config=ProjectConfiguration(str(config.out), logging_dir=str(config.out)),
            # A part that is switched off keeps its weights, which then get no gradient.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=_has_idle_parts(model))],
        )
        config.micro_batch(self.accelerator.num_processes)  # refuses what cannot be shared
        if config.model.gradient_checkpointing:
            # Its older name is deprecated in transformers 5.23.
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        self.averaged = SuperFaceTeacherModel(model.config).eval().requires_grad_(False)
        self.averaged.load_state_dict(model.state_dict())
        channels_last(self.averaged).to(self.accelerator.device)
        settings = config.optimizer
        optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(channels_last(model), optimizer)
        self.discriminator: CloseUpDiscriminator | None = None
        if config.loss.adversarial or config.loss.matching:
            self.discriminator = CloseUpDiscriminator(self.accelerator, 0.5 * settings.learning_rate)
        self.loss = TeacherLoss(config.loss, self.accelerator.device)
        self.degrade = SourceDegradation(config.data.degradation)
        self.mattes = Mattes(self.accelerator.device)
        self.run = TrainingRun(
            config.out, self.accelerator, self.averaged, settings.ema, config.run.checkpoint_minutes, config,
            config.run.first_checkpoint, config.run.log_every,
        )  # fmt: skip
        if config.run.compile:
            # Only the convolutional parts: the geometry in between gains nothing, and each new shape would be traced again.
            for part in convolutional_parts(self.accelerator.unwrap_model(self.model)):
                part.compile()

    def train(self, until: int | None = None) -> None:
        """Train to the end, or to step ``until``, and write a checkpoint in both cases.

        Raises:
            TrainingError: the checkpoint is of another model, or steps stayed without finite gradients.
        """
        config, size = self.config, self.averaged.config.image_size
        self._check_resumable()
        places = self.run.resume().get("everyone", [])
        if config.run.trackers:
            own = {"trackio": {"name": config.out.name, "resume": "allow"}} if "trackio" in config.run.trackers else {}
            self.accelerator.init_trackers(PROJECT, flat(config), init_kwargs=own)
        validation = None
        if config.run.validate_every and self.accelerator.is_main_process:
            validation = ValidationClips(config.data.prepared, size=size)
        last = until or config.schedule.steps
        batches = BatchParts(config, size, self.accelerator, range(self.run.step, last), places)
        try:
            for parts in batches:
                self.run.tick(self._train_step(parts), everyone=batches.place)
                if validation is not None and self.run.step % config.run.validate_every == 0:
                    self._log_validation(validation)
            self.run.save(everyone=batches.place)
        finally:
            for tracker in self.accelerator.trackers:
                tracker.finish()

    def _train_step(self, parts: list[Pair]) -> dict[str, float | Tensor]:
        """Take one step of the optimizer on this process's parts of the batch."""
        settings, step = self.config.optimizer, self.run.step
        schedule = self.config.schedule
        rate = settings.learning_rate * falling_rate(step, schedule.steps, schedule.warmup, schedule.decay)
        set_rates(self.optimizer, rate)
        sums: dict[str, Tensor] = {}
        restoring = step < schedule.restoration
        learn = self._learn_to_restore if restoring else self._learn_from
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            # Processes share their gradients once, in the last part's backward pass.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = learn(part, self.accelerator.process_index * len(parts) + number, len(parts))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value / len(parts)
        if restoring:  # beside the model's own forward pass
            share_gradients(self.accelerator, self.model.parameters())
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        taken = self.run.counts(self._all_finite(norm, sums["loss"]), settings.skips_allowed)
        if taken:
            self.optimizer.step()
            if self.discriminator is not None:
                self.discriminator.step(0.5 * rate)
            self.run.follow(self.model)
        else:
            sums = {}
        self.optimizer.zero_grad()
        if self.discriminator is not None:
            self.discriminator.forget()
        return {**sums, **({"gradient": norm} if taken else {}), "rate": rate, "skipped": float(not taken)}

    def _learn_from(self, part: Pair, place: int, parts: int) -> dict[str, Tensor]:
        """Add the gradients of one part of the batch, the ``place``-th of all, to those of ``parts`` on this process."""
        batch = self._on_device(part, place)
        generator = self._generator(place, _WINDOWS)
        with self.accelerator.autocast():
            output = self.model(batch.source, batch.matte, batch.source_landmarks, batch.target_landmarks)
            frames = output.over(batch.plate)
            patches = close_ups(frames, batch, generator)
            loss, terms = self.loss(output, frames, batch, patches)
            if self.discriminator is not None and patches:
                judged = self.discriminator.judge(patches)
                loss = loss + sum(getattr(self.config.loss, name) * value for name, value in judged.items())
                terms.update({name: value.detach() for name, value in judged.items()})
        self.accelerator.backward(loss / parts)
        if self.discriminator is not None and patches:
            terms["discriminator"] = self.discriminator.learn(patches)
        return {"loss": loss.detach(), **terms}

    def _learn_to_restore(self, part: Pair, place: int, parts: int) -> dict[str, Tensor]:
        """Add the restorer's gradients alone, from windows of degraded sources and of their originals."""
        batch = self._on_device(part, place)
        side = min(RESTORED_WINDOW, batch.source.shape[-1])
        degraded, clean = windows(batch.window, (batch.source, batch.clean_source), side)
        with self.accelerator.autocast():
            restored = self.accelerator.unwrap_model(self.model).restorer(degraded)
            loss = self.loss.restoration(restored, clean, batch.degraded, torch.zeros_like(batch.window))
        self.accelerator.backward(loss / parts)
        return {"loss": loss.detach(), "restoration": loss.detach()}

    def _on_device(self, part: Pair, place: int) -> TeacherBatch:
        """Return the pictures as floats in [0, 1], in layers, and some of the sources degraded."""
        device = self.accelerator.device
        part = part.to(device, non_blocking=True)
        source, target = (
            (picture.float() / 255).contiguous(memory_format=torch.channels_last)
            for picture in (part.source, part.target)
        )
        matte, target_matte = self.mattes(source), self.mattes(target)
        plate = known_plate(source, matte, target, target_matte)
        clean = source = person_colours(source, matte, known_plate(source, matte, source, matte))
        degraded = torch.zeros_like(part.sharp)
        places = torch.rand(len(source), 2, generator=self._generator(place, _RESTORED))
        if self.config.data.degradation.share:
            poor = self.degrade(source, self._generator(place, _DEGRADATION, device), part.follows)
            source = poor.contiguous(memory_format=torch.channels_last)
            degraded = (poor != clean).flatten(1).any(1)
        return TeacherBatch(
            source, target, part.source_landmarks, part.target_landmarks, part.sharp, part.known, part.follows,
            matte, target_matte, plate, clean, degraded, (2 * places - 1).to(device),
        )  # fmt: skip

    def _generator(self, place: int, kind: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return the random numbers that only depend on the seed, the step and the place in the batch."""
        return torch_generator(self.config.run.seed, self.run.step, place, kind, device=device)

    def _all_finite(self, *values: Tensor) -> bool:
        """Return whether the values are finite in all processes."""
        finite = torch.stack([value.detach().float().isfinite() for value in values]).all()
        if self.accelerator.num_processes > 1:
            finite = self.accelerator.reduce(finite.float(), "mean") == 1
        return bool(finite)

    def _check_resumable(self) -> None:
        found = self.run.newest()
        if found is None:
            return
        checkpoint, progress = found
        before, now = progress.get("config", {}).get("model"), as_dict(self.config)["model"]
        same = isinstance(before, dict) and all(before.get(key) == now[key] for key in ("size", "overrides"))
        if not same:
            raise TrainingError(
                f"{checkpoint} holds a training of another model ({before}): choose another run.out, or start from its "
                f"weights with model.init={checkpoint / 'averaged'}."
            )

    def _log_validation(self, clips: ValidationClips) -> None:
        """Run on the main process; the others wait for it in their next step."""
        sheet = self.run.out / f"validation_{self.run.step:06d}.png"
        self.run.log({"step": self.run.step, "validation": measure_teacher(self.averaged, clips, self.mattes, sheet)})
        self.run.log_picture("validation", sheet)


def initial_model(settings: ModelSettings) -> SuperFaceTeacherModel:
    """Return the released weights that ``init`` names, or a new model, which is the plain mesh flow."""
    if settings.init:
        try:
            return SuperFaceTeacherModel.from_pretrained(settings.init, dtype=torch.float32)
        except (SuperFaceError, OSError, ValueError, RuntimeError) as error:
            raise SettingsError(f"model.init={settings.init} cannot be loaded: {error}") from error
    model = SuperFaceTeacherModel(settings.architecture())
    model.canonical.copy_(FaceModel.default().mean)
    return model


def convolutional_parts(model: SuperFaceTeacherModel) -> list[nn.Module]:
    return [
        model.restorer, model.appearance_encoder, model.dense_motion.unet, model.generator, model.mouth_painter,
        model.eye_painter,
    ]  # fmt: skip


def _has_idle_parts(model: SuperFaceTeacherModel) -> bool:
    return not (model.config.early_mesh and model.config.late_landmarks)


def _check_trackers(names: tuple[str, ...]) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise SettingsError(f"run.trackers names {name}, which is not installed: pip install {name}.")


def run(config: TeacherTrainingConfig, until: int | None = None) -> Path | None:
    """Train to the end, or to step ``until``.

    Returns:
        The folder of the averaged weights; None in all processes except the main one.
    """
    trainer = TeacherTrainer(config)
    trainer.train(until)
    return config.out / "checkpoint" / "averaged" if trainer.accelerator.is_main_process else None
