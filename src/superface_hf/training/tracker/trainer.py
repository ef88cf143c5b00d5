"""Trains the parts of the tracker and joins them into a model folder::

    superface train tracker --out src/superface_hf/weights/tracker

Each part can be trained on its own (``tracker-detector``, ``tracker-landmarks``, ``tracker-eyes``); ``join_only`` joins what
is there, ``only_eyes`` trains the eye refiner and puts it into the model folder that is there, ``only_detector`` trains that
folder's detector on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.modeling_tracker import SuperFaceTrackerModel
from ...utils.files import write_tensors
from ...utils.settings import number
from ..core.processes import accelerator_for
from . import detector as tracker_detector
from . import eyes as tracker_eyes
from . import landmarks as tracker_landmarks


@dataclass
class TrackerTrainingConfig:
    """How the tracker is trained; the parts' own configurations say more.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: the model folder to write.
        runs: folder of checkpoints.
        detector_minutes, landmark_minutes, eye_minutes: how long each part trains.
        join_only: train nothing, take the checkpoints that are there.
        only_eyes: train the eye refiner alone; the rest of the model in ``out`` stays as it is.
        only_detector: train the detector of the model in ``out`` on, at a third of the usual rates; the rest stays as it is.
    """

    out: Path = Path("runs/tracker")
    prepared: Path = Path(".cache/prepared")
    runs: Path = Path("runs")
    detector_minutes: float = number(13.0, low=0.01)
    landmark_minutes: float = number(36.0, low=0.01)
    eye_minutes: float = number(16.0, low=0.01)
    join_only: bool = False
    only_eyes: bool = False
    only_detector: bool = False


def join(detector: Path, landmarks: Path, eyes: Path, out: Path, config: SuperFaceTrackerConfig | None = None) -> None:
    """Writes a model folder from the averaged weights of all parts."""
    model = SuperFaceTrackerModel(config or SuperFaceTrackerConfig())
    model.detector.load_state_dict(load_file(detector))
    model.regressor.load_state_dict(load_file(landmarks))
    model.eyes.load_state_dict(load_file(eyes))
    write(model, out)


def replace_eyes(eyes: Path, out: Path) -> None:
    """Puts another eye refiner, or the first one, into a model folder."""
    _replace("eyes", eyes, out)


def replace_detector(detector: Path, out: Path) -> None:
    """Puts another detector into a model folder."""
    _replace("detector", detector, out)


def _replace(part: str, weights: Path, out: Path) -> None:
    model = SuperFaceTrackerModel(SuperFaceTrackerConfig.from_pretrained(out))
    rest = {
        name: tensor for name, tensor in load_file(out / "model.safetensors").items() if not name.startswith(f"{part}.")
    }
    model.load_state_dict(rest | {f"{part}.{name}": tensor for name, tensor in load_file(weights).items()})
    write(model, out)


def write(model: SuperFaceTrackerModel, out: Path) -> None:
    """Writes a model folder in half precision; it loads as float32."""
    model.config.dtype = torch.float32
    model.config.architectures = [type(model).__name__]
    out.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(out)
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_tensors(out / "model.safetensors", state, {"format": "pt"})


def run(config: TrackerTrainingConfig) -> Path | None:
    """Trains the detector, the regressor and the eye refiner, and joins them; or one part alone.

    Returns:
        The model folder; None in all processes except the main one.
    """
    main = accelerator_for().is_main_process
    if config.only_detector:
        further = tracker_detector.DetectorTrainingConfig(
            config.prepared,
            config.runs / "tracker_detector_further",
            minutes=config.detector_minutes,
            batch=10,
            learning_rate=6e-4,
            backbone_rate=2e-4,
            frozen_stages=3,
            start=config.out,
        )
        if not config.join_only:
            tracker_detector.train(further)
        if main:
            replace_detector(further.out / "averaged.safetensors", config.out)
        return config.out if main else None
    eye_config = tracker_eyes.EyeTrainingConfig(
        config.prepared, config.runs / "tracker_eyes", minutes=config.eye_minutes
    )
    eyes = eye_config.out / "averaged.safetensors"
    if not config.join_only:
        tracker_eyes.train(eye_config)
    if config.only_eyes:
        if main:
            replace_eyes(eyes, config.out)
        return config.out if main else None
    detector_config = tracker_detector.DetectorTrainingConfig(
        config.prepared, config.runs / "tracker_detector", minutes=config.detector_minutes
    )
    landmark_config = tracker_landmarks.LandmarkTrainingConfig(
        config.prepared,
        config.runs / "tracker_landmarks",
        minutes=config.landmark_minutes,
        detector=detector_config.out / "averaged.safetensors",
    )
    if not config.join_only:
        tracker_detector.train(detector_config)
        tracker_landmarks.train(landmark_config)
    if main:
        join(
            detector_config.out / "averaged.safetensors", landmark_config.out / "averaged.safetensors", eyes, config.out
        )
    return config.out if main else None
