"""The table of models that can be trained by ``superface train MODEL``.

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
    "speech-to-motion": Trainable(
        "the motion diffusion: speech -> head, eyes, brows, gaze",
        "speech_to_motion.trainer:SpeechToMotionTrainingConfig", "speech_to_motion.trainer:run", prepared=None, stops=True,
    ),
    "lip-refiner": Trainable(
        "the motion diffusion's correction of lips",
        "speech_to_motion.lip_refiner:LipRefinerTrainingConfig", "speech_to_motion.lip_refiner:run", prepared=None, stops=True,
    ),
    "sync-expert": Trainable(
        "judges whether mouth and sound belong together",
        "sync_expert.trainer:SyncExpertTrainingConfig", "sync_expert.trainer:run", stops=True,
    ),
    "lip-reader": Trainable(
        "reads what lips say: judges rendered mouths",
        "lip_reader.trainer:LipReaderTrainingConfig", "lip_reader.trainer:run", prepared=None, stops=True,
    ),
    "tracker": Trainable(
        "finds faces and their points: all parts, one after the other, joined",
        "tracker.trainer:TrackerTrainingConfig", "tracker.trainer:run",
    ),
    "tracker-detector": Trainable(
        "the tracker's part that finds faces",
        "tracker.detector:DetectorTrainingConfig", "tracker.detector:train", stops=True,
    ),
    "tracker-landmarks": Trainable(
        "the tracker's part that finds the points of a face",
        "tracker.landmarks:LandmarkTrainingConfig", "tracker.landmarks:train", stops=True,
    ),
    "tracker-eyes": Trainable(
        "the tracker's part that looks closer at eyes", "tracker.eyes:EyeTrainingConfig", "tracker.eyes:train", stops=True,
    ),
    "tracker-mouth": Trainable(
        "the tracker's part that looks closer at the mouth",
        "tracker.region_refiner:MouthTrainingConfig", "tracker.region_refiner:train", stops=True,
    ),
    "tracker-brows": Trainable(
        "the tracker's part that looks closer at the brows",
        "tracker.region_refiner:BrowTrainingConfig", "tracker.region_refiner:train", stops=True,
    ),
    "matte": Trainable(
        "tells the portrait's person from what is behind",
        "matte.trainer:MatteTrainingConfig", "matte.trainer:run", prepared="shards", stops=True,
    ),
    "inpainter": Trainable(
        "paints what may be behind the person",
        "inpainter.trainer:InpainterTrainingConfig", "inpainter.trainer:run", prepared="shards", stops=True,
    ),
    "restorer": Trainable(
        "gives faces detail from a learned codebook",
        "restorer.trainer:RestorerTrainingConfig", "restorer.trainer:run", prepared="shards", stops=True,
    ),
    "layered-teacher": Trainable(
        "the teacher, on layers of packed clips, in a given time",
        "layered.trainer:LayeredTrainingConfig", "layered.trainer:run", prepared="shards", stops=True,
    ),
    "painter": Trainable(
        "the teacher's painter of mouth or eyes alone",
        "painters.trainer:PainterTrainingConfig", "painters.trainer:run", prepared="windows", stops=True,
    ),
    "conre": Trainable(
        "voice and face drawn into one space, for sets of thousands of people",
        "portraits.conre:ConReTrainingConfig", "portraits.conre:run", prepared=None, stops=True,
    ),
}  # fmt: skip


def load(name: str) -> Any:
    """Import what ``module:name`` below ``superface_hf.training`` names."""
    module, _, member = name.partition(":")
    return getattr(import_module(f"superface_hf.training.{module}"), member)
