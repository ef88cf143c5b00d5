"""Trains the parts of the tracker and joins them into a model folder::

    python -m superface_hf.training.tracker --out src/superface_hf/weights/tracker

Detector and regressor can be trained on their own (``tracker_detector``, ``tracker_landmarks``); ``--join-only`` joins
what is there, ``--only-eyes`` trains the eye refiner and puts it into the model folder that is there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..files import write_tensors
from ..models.tracker.configuration_tracker import SuperFaceTrackerConfig
from ..models.tracker.modeling_tracker import SuperFaceTrackerModel
from . import tracker_detector, tracker_eyes, tracker_landmarks, tracker_mouth, tracker_mouth_crops
from .run import parse_config


@dataclass
class TrackerTrainingConfig:
    """How the tracker is trained; the parts' own configurations say more.

    Attributes:
        prepared: a set of ``superface prepare --labels mediapipe``; out: the model folder to write.
        runs: folder of checkpoints.
        detector_minutes, landmark_minutes, eye_minutes, mouth_minutes: how long each part trains.
        join_only: train nothing, take the checkpoints that are there.
        only_eyes, only_mouth: train that refiner alone; the rest of the model in ``out`` stays as it is.
    """

    out: Path
    prepared: Path = Path(".cache/prepared")
    runs: Path = Path("runs")
    detector_minutes: float = 13.0
    landmark_minutes: float = 36.0
    eye_minutes: float = 16.0
    mouth_minutes: float = 45.0
    join_only: bool = False
    only_eyes: bool = False
    only_mouth: bool = False


def join(parts: dict[str, Path], out: Path, config: SuperFaceTrackerConfig | None = None) -> None:
    """Writes a model folder from the averaged weights of all parts, by the model's names for them."""
    model = SuperFaceTrackerModel(config or SuperFaceTrackerConfig())
    for name, part in model.named_children():
        part.load_state_dict(load_file(parts[name]))
    write(model, out)


def replace_refiner(name: str, weights: Path, out: Path) -> None:
    """Puts another refiner (``eyes`` or ``mouth``), or the first one, into a model folder."""
    model = SuperFaceTrackerModel(SuperFaceTrackerConfig.from_pretrained(out))
    there = load_file(out / "model.safetensors")
    state = {key: tensor for key, tensor in there.items() if not key.startswith(f"{name}.")}
    state |= {f"{name}.{key}": tensor for key, tensor in load_file(weights).items()}
    model.load_state_dict(state)
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


def train(config: TrackerTrainingConfig) -> None:
    """Trains detector, regressor and both refiners, and joins them."""
    folders = {name: config.runs / f"tracker_{name}" for name in ("detector", "landmarks", "eyes", "mouth")}
    files = {name: folder / "averaged.safetensors" for name, folder in folders.items()}
    parts = {
        "detector": files["detector"],
        "regressor": files["landmarks"],
        "eyes": files["eyes"],
        "mouth": folders["mouth"] / "weights.safetensors",
    }
    one = "eyes" if config.only_eyes else "mouth" if config.only_mouth else None
    if not config.join_only:
        if one in (None, "eyes"):
            tracker_eyes.train(
                tracker_eyes.EyeTrainingConfig(config.prepared, folders["eyes"], minutes=config.eye_minutes)
            )
        if one in (None, "mouth"):
            crops = tracker_mouth_crops.MouthCropsConfig(config.prepared, folders["mouth"] / "crops.npz")
            if not crops.out.exists():
                tracker_mouth_crops.pack(crops)
            tracker_mouth.train(
                tracker_mouth.MouthTrainingConfig(crops.out, folders["mouth"], minutes=config.mouth_minutes)
            )
        if one is None:
            _train_whole_face(config, folders["detector"], folders["landmarks"])
    if one is None:
        join(parts, config.out)
    else:
        replace_refiner(one, parts[one], config.out)


def _train_whole_face(config: TrackerTrainingConfig, detector: Path, landmarks: Path) -> None:
    """The regressor starts from the detector."""
    weights = tracker_detector.train(
        tracker_detector.DetectorTrainingConfig(config.prepared, detector, minutes=config.detector_minutes)
    )
    tracker_landmarks.train(
        tracker_landmarks.LandmarkTrainingConfig(
            config.prepared, landmarks, minutes=config.landmark_minutes, detector=weights
        )
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(parse_config(TrackerTrainingConfig, __doc__ or ""))


if __name__ == "__main__":
    main()
