"""Distil a teacher into a student of one person: ``superface distill --portrait alice.jpg --name alice -o out/``.

The teacher renders the portrait over a bank of motions for a part of the time, into a cache; the student learns from it for the
rest, with a learning rate that follows the share of the time that has passed. A stopped distillation continues where it was.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm
from transformers.utils import logging

from ...animation.portrait import Portrait
from ...data.motion_bank import MotionBank, build_bank, bundled_tracks
from ...data.own_video import read_own_video
from ...errors import SuperFaceError
from ...face_model.linear import FaceModel
from ...hub import weights_folder
from ...layers.portrait import PortraitLayers
from ...media import check_writable
from ...models.embedded import load_audio_to_lip
from ...models.student.configuration_student import SuperFaceStudentConfig
from ...models.student.modeling_student import SuperFaceStudentModel
from ...models.student.stored_layers import LayerFiles
from ...models.teacher.modeling_teacher import SuperFaceTeacherModel
from ...models.tracker.base import FaceTracker
from ...utils.files import hold
from ...utils.progress import no_bars
from ...utils.settings import SettingsError
from ..core.layout import channels_last
from ..core.processes import accelerator_for
from ..core.run import TrainingError, TrainingRun
from ..losses.perceptual import perceptual_distance
from .config import DistillationConfig
from .portrait import found_portrait, portrait_layers, stored_portrait
from .report import StudentReport, measure_student, write_card
from .scene import Scene
from .teacher_frames import SHARD, FrameCache, TeacherFrames, fingerprint, reduced_appearance, render_frames
from .trainer import StudentTraining

if TYPE_CHECKING:
    from ...models.audio_to_lip.modeling_audio_to_lip import SuperFaceAudioToLipModel

logger = logging.get_logger(__name__)

# A student of fewer frames does not generalise to other motions.
LEAST_FRAMES = 2 * SHARD


class Distiller:
    """One distillation; :meth:`run` resumes from ``config.work``.

    Raises:
        MediaError, NoFaceError, SeveralFacesError: of the portrait or a video.
        SuperFaceError: a video shows somebody else, or the teacher cannot be loaded.
    """

    def __init__(
        self,
        config: DistillationConfig,
        tracker: FaceTracker | None = None,
        teacher: SuperFaceTeacherModel | None = None,
        audio_to_lip: SuperFaceAudioToLipModel | None = None,
        find_layers: Callable[[Portrait], PortraitLayers] | None = None,
    ) -> None:
        self._began = time.monotonic()
        self.config = config
        set_seed(config.seed)
        self.accelerator = accelerator_for(config.mixed_precision)
        device = self.accelerator.device
        self.teacher = channels_last(teacher or _load_teacher(config.teacher)).to(device).eval()
        size = self.teacher.config.image_size
        tracker = tracker or _embedded_tracker(device)
        self.perceptual: nn.Module | None = None
        if config.loss.perceptual or (config.loss.real and config.videos):
            self.perceptual = perceptual_distance(config.loss.perceptual_backbone).to(device)
        self.face_model = FaceModel.default()
        picture, self.portrait = stored_portrait(found_portrait(config, tracker, self.face_model, size))
        layers = (find_layers or portrait_layers)(self.portrait)
        seen = Scene.of(layers, self.portrait.crop, size).to(device)
        with torch.inference_mode():
            self.source = self.teacher.prepare(
                seen.texture, seen.matte, torch.from_numpy(self.portrait.landmarks)[None].to(device)
            )
        # The student stores what the teacher restored of a poor portrait, and need not restore it again.
        layers = layers.with_restored(self.portrait.crop, seen.texture, self.source.image)
        self.files = LayerFiles.of(picture, layers)
        # Made of the pixels that the student stores.
        self.scene = Scene.of(self.files.decoded(), self.portrait.crop, size).to(device)
        self.own = [read_own_video(path, self.portrait, tracker, self.face_model, size) for path in config.videos]
        self.bank = self._bank(audio_to_lip or load_audio_to_lip(None))
        self.student_config = _student_config(config, self.portrait, size, self.files)

    def _bank(self, audio_to_lip: SuperFaceAudioToLipModel) -> MotionBank:
        config = self.config
        return build_bank(
            self.portrait, bundled_tracks(audio_to_lip), [video.motion for video in self.own], config.frames,
            config.held_out, config.seed, self.face_model,
        )  # fmt: skip

    def run(self) -> SuperFaceStudentModel:
        """Renders, trains, and returns the student in float32, on the CPU.

        Raises:
            TrainingError: the time is too short, or what is in ``config.work`` belongs to another distillation.
        """
        frames, seconds = self.render()
        student = self.new_student()
        run = TrainingRun(
            self.config.work, self.accelerator, student, self.config.ema, self.config.checkpoint_minutes, self.config
        )
        training = StudentTraining(self.config, run, self.scene, frames, self.own, self.perceptual)
        with self._bar("Student", round(60 * self.config.minutes), "s") as bar:
            training.train(
                max(seconds, time.monotonic() - self._began),
                lambda passed: bar.update(max(0, min(round(passed), round(60 * self.config.minutes)) - bar.n)),
            )
        return student.float().cpu()

    # Rendering

    def render(self) -> tuple[TeacherFrames, float]:
        """Return the teacher's frames to learn from, and the seconds that went into all that came before training."""
        config, world = self.config, self.accelerator.num_processes
        if self.accelerator.is_main_process:
            self.cache("frames")
            self.held_out()
        self.accelerator.wait_for_everyone()
        cache = self.cache("frames")
        shards = list(zip(self.bank.landmarks.split(SHARD), self.bank.windows.split(SHARD), strict=True))
        mine = range(self.accelerator.process_index, len(shards), world)
        spent = sum(TeacherFrames.load(cache.path(n))[1] for n in mine if cache.path(n).exists())
        budget = 60 * config.minutes * config.render_share - (time.monotonic() - self._began)
        with self._bar("Teacher", len(mine) * SHARD, "frame") as bar:
            for number in mine:
                if not cache.path(number).exists():
                    if spent > budget and number * SHARD >= LEAST_FRAMES:
                        break
                    spent += self._render_shard(cache, number, *shards[number])
                    self._check_time(spent, number + 1)
                bar.update(len(shards[number][0]))
        self.accelerator.wait_for_everyone()
        frames, seconds = cache.load()
        return frames, seconds / world

    def _render_shard(self, cache: FrameCache, number: int, landmarks: Tensor, windows: Tensor) -> float:
        start = time.monotonic()
        dtype = getattr(torch, self.config.teacher_precision)
        frames = self._rendered(landmarks, windows, dtype, exact=False)
        frames.save(cache.path(number), seconds := time.monotonic() - start)
        return seconds

    def _check_time(self, spent: float, shards: int) -> None:
        """Raise TrainingError early where the time will not suffice."""
        needed = spent / shards * (LEAST_FRAMES / SHARD) / self.config.render_share / 60
        if needed > 2 * self.config.minutes:
            raise TrainingError(
                f"{self.config.minutes:g} minutes are too short: rendering the least that a student can learn from "
                f"({LEAST_FRAMES} frames) takes {needed * self.config.render_share:.1f} minutes here. "
                f"Pass --minutes {max(1, math.ceil(4 * needed))} or more."
            )

    def held_out(self) -> TeacherFrames:
        """Return the frames that the student is measured on, rendered in float32 and kept without loss."""
        cache = self.cache("held_out")
        if not cache.path(0).exists():
            start = time.monotonic()
            bank = self.bank
            frames = self._rendered(bank.held_out, bank.held_out_windows, torch.float32, exact=True)
            frames.save(cache.path(0), time.monotonic() - start)
        return cache.load()[0]

    def _rendered(self, landmarks: Tensor, windows: Tensor, dtype: torch.dtype, exact: bool) -> TeacherFrames:
        batch = 2 if self.accelerator.device.type == "cpu" else 16
        return render_frames(self.teacher, self.source, self.scene, landmarks, windows, batch, dtype, exact)

    def cache(self, kind: str) -> FrameCache:
        landmarks = self.bank.landmarks if kind == "frames" else self.bank.held_out
        made_from = (*self.files, self.portrait.landmarks.tobytes(), landmarks.numpy().tobytes())
        return FrameCache(self.config.work / kind, fingerprint(self.teacher, *made_from))

    def report(self, student: SuperFaceStudentModel) -> StudentReport:
        """Save the student in ``config.out``, measure it there, and write its card."""
        config, folder = self.config, self.config.folder
        student.save_pretrained(folder)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.teacher.render(self.source, self.source.landmarks)
        mmacs = counter.get_total_flops() / 2e6
        untrained = self.new_student().float().cpu()
        report = measure_student(student, untrained, self.held_out(), self.bank.held_out_names, mmacs, folder)
        report.save(folder / "report.json")
        if report.psnr < report.flow_psnr:
            logger.warning(
                f"The student is no nearer to the teacher ({report.psnr:.2f} dB) than the untrained layers "
                f"({report.flow_psnr:.2f} dB): it has not learnt for long enough. Start it again "
                f"with more --minutes; it continues from here."
            )
        videos = f" and {len(self.own)} videos" if self.own else ""
        made = (
            f"`superface distill --minutes {config.minutes:g}`: distilled from the SuperFace teacher, from one portrait"
            f"{videos}, over bundled and sampled motions."
        )
        of_the_hub = config.teacher is not None and not Path(config.teacher).exists()
        write_card(student, report, folder, made, config.teacher if of_the_hub else None)
        return report

    # Training

    def new_student(self) -> SuperFaceStudentModel:
        """Return an untrained student, which renders the layers of the portrait."""
        student = SuperFaceStudentModel(self.student_config).to(self.accelerator.device)
        portrait = self.portrait
        student.store(
            self.files, portrait.crop, portrait.landmarks, self.scene.texture, self.scene.matte,
            reduced_appearance(
                self.source, self.student_config.appearance_channels, self.student_config.image_size // 8
            ),
        )  # fmt: skip
        return channels_last(student).eval().requires_grad_(False)

    def _bar(self, title: str, total: int, unit: str) -> tqdm:
        return tqdm(total=total, desc=title, unit=unit, disable=no_bars() if self.accelerator.is_main_process else True)


def _load_teacher(source: str | None) -> SuperFaceTeacherModel:
    where = source or str(weights_folder("teacher"))
    try:
        return SuperFaceTeacherModel.from_pretrained(where, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise SuperFaceError(f"The teacher {where} cannot be loaded: {error}") from error


def _embedded_tracker(device: torch.device) -> FaceTracker:
    from ...models.embedded import embedded_tracker

    return embedded_tracker(device)


def _student_config(
    config: DistillationConfig, portrait: Portrait, size: int, files: LayerFiles
) -> SuperFaceStudentConfig:
    known = SuperFaceStudentConfig().to_dict()
    lengths = {f"{name}_bytes": len(file) for name, file in files._asdict().items()}
    given = {"person": config.name, "drawn_eyes": portrait.drawn_eyes, "image_size": size, **lengths, **config.student}
    unknown = set(config.student) - set(known)
    if unknown:
        raise SettingsError(f"Unknown setting student.{min(unknown)}: a student has {', '.join(sorted(known))}.")
    try:
        return SuperFaceStudentConfig(**given)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"student: {error}") from error


def distill(config: DistillationConfig) -> StudentReport | None:
    """Make a student, and write it to ``config.out``, with a model card that says how near it comes to the teacher.

    Returns:
        What was measured; None on all but the main process.

    Raises:
        SuperFaceError: see :class:`Distiller` and :meth:`Distiller.run`.
    """
    check_writable(config.folder / "model.safetensors")
    if os.environ.get("RANK", "0") == "0":  # the main process's, of several
        hold(config.work, "a distillation")
    distiller = Distiller(config)
    student = distiller.run()
    return distiller.report(student) if distiller.accelerator.is_main_process else None


def run(config: DistillationConfig) -> Path | None:
    """Make a student, as :func:`distill`; return its folder, and None in all processes except the main one."""
    return None if distill(config) is None else config.folder
