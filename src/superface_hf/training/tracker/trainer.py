"""Train the parts of the tracker, and join them into a model folder::

    superface train tracker --out src/superface_hf/weights/tracker

Each part can be trained on its own (``tracker-detector``, ``tracker-landmarks``, ``tracker-eyes``, ``tracker-mouth``,
``tracker-brows``); ``join_only`` joins what is there, ``only_eyes``, ``only_mouth`` and ``only_brows`` train that refiner and
put it into the model folder that is there, and ``only_detector`` trains that folder's detector on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ...models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ...models.tracker.modeling_tracker import SuperFaceTrackerModel
from ...utils.files import write_tensors
from ...utils.settings import number
from ..core.checkpoints import WEIGHTS_FILE
from ..core.processes import accelerator_for
from . import detector, eyes, landmarks, region_refiner
from .detector import DetectorTrainingConfig
from .eyes import EyeTrainingConfig
from .landmarks import LandmarkTrainingConfig
from .part import PartTrainingConfig
from .region_refiner import BrowTrainingConfig, MouthTrainingConfig

# How each part is trained, by the model's names for them.
TRAIN: dict[str, Callable[[Any], Path | None]] = {
    "eyes": eyes.train,
    "mouth": region_refiner.train,
    "brows": region_refiner.train,
    "detector": detector.train,
    "regressor": landmarks.train,
}


@dataclass
class TrackerTrainingConfig:
    """How the tracker is trained; the parts have configurations of their own.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: the model folder to write.
        runs: folder of checkpoints.
        detector_minutes, landmark_minutes, eye_minutes, mouth_minutes, brow_minutes: how long each part trains.
        join_only: train nothing, take the checkpoints that are there.
        only_eyes, only_mouth, only_brows: train that refiner alone; the rest of the model in ``out`` stays as it is.
        only_detector: train the detector of the model in ``out`` on, at a third of the usual rates; the rest stays as it is.
    """

    out: Path = Path("runs/tracker")
    prepared: Path = Path(".cache/prepared")
    runs: Path = Path("runs")
    detector_minutes: float = number(13.0, low=0.01)
    landmark_minutes: float = number(36.0, low=0.01)
    eye_minutes: float = number(16.0, low=0.01)
    mouth_minutes: float = number(45.0, low=0.01)
    brow_minutes: float = number(45.0, low=0.01)
    join_only: bool = False
    only_eyes: bool = False
    only_mouth: bool = False
    only_brows: bool = False
    only_detector: bool = False


def join(parts: dict[str, Path], out: Path, config: SuperFaceTrackerConfig | None = None) -> None:
    """Write a model folder from the averaged weights of all parts, by the model's names for them."""
    model = SuperFaceTrackerModel(config or SuperFaceTrackerConfig())
    for name, part in model.named_children():
        part.load_state_dict(load_file(parts[name]))
    write(model, out)


def replace_part(name: str, weights: Path, out: Path) -> None:
    """Put another part (``detector``, ``eyes``, ``mouth`` or ``brows``), or the first one of its kind, into a model folder."""
    model = SuperFaceTrackerModel(SuperFaceTrackerConfig.from_pretrained(out))
    there = load_file(out / "model.safetensors")
    state = {key: tensor for key, tensor in there.items() if not key.startswith(f"{name}.")}
    state |= {f"{name}.{key}": tensor for key, tensor in load_file(weights).items()}
    model.load_state_dict(state)
    write(model, out)


def write(model: SuperFaceTrackerModel, out: Path) -> None:
    """Write a model folder in half precision; it loads as float32."""
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
    """Train detector, regressor and all refiners, and join them; or train one of them and put it in place.

    Returns:
        The model folder; None in all processes except the main one.
    """
    accelerator = accelerator_for()
    configs = _part_configs(config)
    one = next((name for name in ("detector", "eyes", "mouth", "brows") if getattr(config, f"only_{name}")), None)
    chosen = {name: part for name, part in configs.items() if one in (None, name)}
    if not config.join_only:
        for name, part in chosen.items():
            TRAIN[name](part)
    if not accelerator.is_main_process:
        return None
    files = {name: part.out / "final" / WEIGHTS_FILE for name, part in chosen.items()}
    if one is None:
        join(files, config.out)
    else:
        replace_part(one, files[one], config.out)
    return config.out


def _part_configs(config: TrackerTrainingConfig) -> dict[str, PartTrainingConfig]:
    """Return the settings of each part by the model's names for them, in the order in which they are trained."""
    folders = {name: config.runs / f"tracker_{name}" for name in ("detector", "landmarks", "eyes", "mouth", "brows")}
    detector = DetectorTrainingConfig(config.prepared, folders["detector"], minutes=config.detector_minutes)
    if config.only_detector:
        detector = DetectorTrainingConfig(
            config.prepared, config.runs / "tracker_detector_further", minutes=config.detector_minutes, batch=10,
            learning_rate=6e-4, backbone_rate=2e-4, frozen_stages=3, start=config.out,
        )  # fmt: skip
    return {
        "eyes": EyeTrainingConfig(config.prepared, folders["eyes"], minutes=config.eye_minutes),
        "mouth": MouthTrainingConfig(config.prepared, folders["mouth"], minutes=config.mouth_minutes),
        "brows": BrowTrainingConfig(config.prepared, folders["brows"], minutes=config.brow_minutes),
        "detector": detector,
        "regressor": LandmarkTrainingConfig(
            config.prepared,
            folders["landmarks"],
            minutes=config.landmark_minutes,
            detector=detector.out / "final" / WEIGHTS_FILE,
        ),
    }
