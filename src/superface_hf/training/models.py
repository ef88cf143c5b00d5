"""What can be trained: one entry a model, for ``superface train MODEL``.

A new trainer is a module with a settings dataclass and a function that trains by it, an entry here, and a YAML file in
``configs/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Trainable:
    """A model that can be trained.

    Attributes:
        about: one line for ``superface train --help``.
        settings: its settings dataclass, as ``module:name`` below ``superface_hf.training``.
        train: a function likewise, that takes the settings (and ``until``, a step, if it can stop there) and gives the path
            of what it made, or None in processes that write nothing.
        out, prepared: the settings that ``--out`` and ``--prepared`` name; None where there is none.
        stops: whether it can stop at a step.
    """

    about: str
    settings: str
    train: str
    out: str = "out"
    prepared: str | None = "prepared"
    stops: bool = False


TRAINABLE = {
    "teacher": Trainable(
        "the renderer: portrait + meshes -> frames",
        "teacher.config:TeacherTrainingConfig", "teacher.trainer:run", "run.out", "data.prepared", stops=True,
    ),
    "student": Trainable(
        "a renderer of one person (`superface distill` is the same with options of its own)",
        "student.config:DistillationConfig", "student.distillation:run", prepared=None,
    ),
    "audio-to-lip": Trainable(
        "speech -> mouth", "audio_to_lip.trainer:AudioToLipTrainingConfig", "audio_to_lip.trainer:run", stops=True,
    ),
    "sync-expert": Trainable(
        "judges whether mouth and sound belong together",
        "sync_expert.trainer:SyncExpertTrainingConfig", "sync_expert.trainer:run", stops=True,
    ),
    "speech-to-motion": Trainable(
        "speech -> head, eyes, brows and mouth, by diffusion",
        "speech_to_motion.trainer:SpeechToMotionTrainingConfig", "speech_to_motion.trainer:run", prepared=None,
    ),
    "lip-refiner": Trainable(
        "the mouth on top of a finished motion diffusion",
        "speech_to_motion.lip_refiner:LipRefinerTrainingConfig", "speech_to_motion.lip_refiner:train", prepared=None,
    ),
    "tracker": Trainable(
        "finds faces and their points: all parts, one after the other, joined",
        "tracker.trainer:TrackerTrainingConfig", "tracker.trainer:run",
    ),
    "tracker-detector": Trainable(
        "the tracker's part that finds faces", "tracker.detector:DetectorTrainingConfig", "tracker.detector:train",
    ),
    "tracker-landmarks": Trainable(
        "the tracker's part that finds the points of a face",
        "tracker.landmarks:LandmarkTrainingConfig", "tracker.landmarks:train",
    ),
    "tracker-eyes": Trainable(
        "the tracker's part that looks closer at eyes", "tracker.eyes:EyeTrainingConfig", "tracker.eyes:train",
    ),
}  # fmt: skip


def load(name: str) -> Any:
    """What ``module:name`` below ``superface_hf.training`` names."""
    module, _, member = name.partition(":")
    return getattr(import_module(f"superface_hf.training.{module}"), member)
